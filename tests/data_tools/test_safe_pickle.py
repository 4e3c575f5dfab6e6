import collections
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from data_tools import safe_pickle
from data_tools.safe_pickle import load_pickle, loads_pickle

CONTENT = {
    "position": np.random.default_rng(0).normal(size=(7, 2)),
    "transposed": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
    "big_endian": np.arange(5, dtype=">f4"),
    "names": np.array(["a", "bcd"]),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 2)),
    "scalar": np.float32(0.1),
    "plain": [1, 2.5, None, True, "text", b"bytes", 3 + 4j, (1, (2,)), {3}, frozenset({4}), 10**30],
    "ordered": collections.OrderedDict(x=1),
}


class Bomb:
    """An object whose pickle runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def assert_same(found: object, expected: object) -> None:
    if isinstance(expected, np.ndarray):
        assert type(found) is np.ndarray
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected
        assert type(found) is (dict if isinstance(expected, collections.OrderedDict) else type(expected))


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_plain_containers_read_back_exactly(protocol: int):
    found = loads_pickle(pickle.dumps(CONTENT, protocol=protocol), name="test")
    assert isinstance(found, dict)
    assert found.keys() == CONTENT.keys()
    for key, expected in CONTENT.items():
        assert_same(found[key], expected)


@pytest.mark.parametrize("protocol", range(4))
def test_pickles_of_numpy_1_are_read(protocol: int):
    data = pickle.dumps(CONTENT, protocol=protocol).replace(b"numpy._core", b"numpy.core")
    found = loads_pickle(data, name="test")
    assert isinstance(found, dict)
    assert_same(found["position"], CONTENT["position"])
    assert_same(found["scalar"], CONTENT["scalar"])


def test_a_pickle_of_python_2_is_read():
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n"
    )
    array += b"(S'<i2'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nU\x04\x01\x00\xff\xfftb."
    np.testing.assert_array_equal(np.asarray(loads_pickle(array, name="test")), [1, -1])


def test_arrays_are_writable_and_shared_objects_are_read_once():
    inner = [np.zeros(3)]
    for _ in range(60):  # 2^60 lists, if each mention were walked
        inner = [inner, inner]
    found = loads_pickle(pickle.dumps(inner), name="test")
    while isinstance(found, list):
        found = found[0]
    assert isinstance(found, np.ndarray)
    found[0] = 1.0


@pytest.mark.parametrize("opcode", [b"s", b"u"])  # SETITEM, SETITEMS
def test_keys_that_take_for_ever_to_hash_are_refused_at_once(opcode: bytes):
    mark = b"(" if opcode == b"u" else b""
    key = b")" + b"2\x86" * 60  # a tuple of itself twice, sixty times
    with pytest.raises(ValueError, match="test is refused: it holds a tuple as a key"):
        loads_pickle(b"\x80\x02}" + mark + key + b"N" + opcode + b".", name="test")


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int):
    path = tmp_path / "traj_data.pkl"
    path.write_bytes(pickle.dumps({"position": Bomb(f"touch {tmp_path}/ran")}, protocol=protocol))
    with pytest.raises(
        ValueError, match=r"traj_data\.pkl is refused: it names posix\.system.*could run code"
    ):
        load_pickle(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n.",  # a constructor as the value
        b"(icollections\nOrderedDict\n.",  # INST
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",  # NEWOBJ
        b"ccollections\nOrderedDict\n(N}S'build'\nNstb.",  # alters a constructor
        b"Pobject\n.",  # persistent id
        b"\x80\x02]r\xff\xff\xff\x7f.",  # memo of 16 GiB
        b"\x80\x02]q\x00h\x00a.",  # a list in itself
        pickle.dumps(np.array([{}, 1], dtype=object)),
        pickle.dumps(np.zeros(2, dtype=[("x", "f8")])),
        pickle.dumps(np.ma.zeros(2)),
        pickle.dumps(Path("x")),
        pickle.dumps({(1, 2): 3}),
        pickle.dumps({(1, 2)}),
        pickle.dumps({frozenset({1})}, protocol=2),
        pickle.dumps(frozenset({frozenset({1})})),
    ],
)
def test_everything_else_is_refused(data: bytes):
    with pytest.raises(ValueError, match=r"test is (refused|not a whole pickle)"):
        loads_pickle(data, name="test")


def test_an_array_cannot_claim_to_be_larger_than_its_bytes():
    data = pickle.dumps(np.zeros((2, 3)), protocol=2)
    assert data.count(b"K\x02K\x03\x86") == 1
    with pytest.raises(ValueError, match=r"not a whole pickle.*reshape"):
        loads_pickle(
            data.replace(b"K\x02K\x03\x86", b"J" + struct.pack("<i", 2**30) + b"K\x03\x86"), name="test"
        )


def test_every_truncation_is_refused():
    data = pickle.dumps(CONTENT)
    for length in range(0, len(data), 7):
        with pytest.raises(ValueError, match="not a whole pickle"):
            loads_pickle(data[:length], name="test")


def test_corrupt_bytes_are_read_or_refused_and_nothing_else():
    data, rng = pickle.dumps(CONTENT), np.random.default_rng(5)
    for _ in range(300):
        corrupt = bytearray(data)
        for place in rng.integers(len(data), size=2):
            corrupt[place] = rng.integers(256)
        try:
            loads_pickle(bytes(corrupt), name="test")
        except ValueError as error:
            assert "test is" in str(error)


def test_size_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", 100)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(np.zeros(100)))
    with pytest.raises(ValueError, match="bytes; pickles of arrays are read up to 100"):
        load_pickle(tmp_path / "a.pkl")
