import json
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from data_tools.evaluation_index import (
    EvaluationIndex,
    IndexKind,
    Window,
    match_index,
    name_trajectories,
    read_index,
    write_index,
    write_nwm_index,
)
from data_tools.fingerprint import fingerprint
from tests.data_tools.recordings import drive

ENTRIES = [("drive1", 11, -11, 64), ("drive2", 3, 8, 8), ("drive1", 3, -3, 5)]
WINDOWS = tuple(Window(trajectory=n, frame=f, min_offset=low, max_offset=high) for n, f, low, high in ENTRIES)


def write_pickle(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("time.pkl", IndexKind.time),
        ("rollout.pkl", IndexKind.rollout),
        ("navigation_eval.pkl", IndexKind.navigation),
    ],
)
def test_pickles_of_others_are_read_in_their_order_and_by_name(tmp_path: Path, name: str, kind: IndexKind):
    index = read_index(write_pickle(tmp_path / name, ENTRIES))
    assert (index.kind, index.windows) == (kind, WINDOWS)


def test_the_pickle_form_is_read_back_and_names_nothing_to_be_executed(tmp_path: Path):
    index = EvaluationIndex(kind=IndexKind.navigation, windows=WINDOWS)
    path = write_nwm_index(index, tmp_path)
    assert path == tmp_path / "navigation_eval.pkl"
    assert read_index(path) == index
    assert pickle.loads(path.read_bytes()) == ENTRIES
    opcodes = {opcode.name for opcode, _, _ in pickletools.genops(path.read_bytes())}
    assert not opcodes & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"}


def test_our_form_keeps_where_it_comes_from(tmp_path: Path):
    index = EvaluationIndex(kind=IndexKind.rollout, windows=WINDOWS, provenance={"seed": 7, "é": [None, 0.5]})
    write_index(index, tmp_path / "a" / "rollout.jsonl")
    read = read_index(tmp_path / "a" / "rollout.jsonl", kind=IndexKind.rollout)
    assert read == index
    assert read.provenance == {"seed": 7, "é": [None, 0.5]}
    with pytest.raises(ValueError, match="an index of kind rollout, not time"):
        read_index(tmp_path / "a" / "rollout.jsonl", kind=IndexKind.time)


def test_numbers_of_numpy_are_numbers_and_lists_are_entries(tmp_path: Path):
    path = write_pickle(tmp_path / "mine.pkl", [["drive1", np.int64(11), np.int32(-11), 64]])
    assert read_index(path, kind=IndexKind.time).windows == WINDOWS[:1]
    with pytest.raises(ValueError, match="does not say of which kind it is"):
        read_index(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"drive1": 3}, "needs a list of windows; it holds dict"),
        ([], "it has none"),
        ([ENTRIES[0], ("drive1", 3, 8), ("drive1", 3.0, 8, 8)], "2 of 3 are others, number 1 the first"),
        ([("drive1", True, 8, 8)], "1 of 1 are others"),
        ([(1, 2, 3, 4)], "1 of 1 are others"),
    ],
)
def test_refuses_pickles_that_are_no_index(tmp_path: Path, content: object, message: str):
    with pytest.raises(ValueError, match=message):
        read_index(write_pickle(tmp_path / "time.pkl", content))


def test_refuses_to_execute(tmp_path: Path):
    with pytest.raises(ValueError, match="is refused"):
        read_index(write_pickle(tmp_path / "time.pkl", [Path("a")]))


HEADING = {
    "format": "worldnav evaluation index",
    "format_version": 1,
    "kind": "time",
    "num_windows": 1,
    "provenance": {},
}
LINE = {"trajectory": "a", "frame": 3, "min_offset": -3, "max_offset": 64}


@pytest.mark.parametrize(
    ("heading", "line", "message"),
    [
        ({"format": "other"}, {}, "it is another file"),
        ({"format_version": 2}, {}, "it is another file"),
        ({"kind": "sight"}, {}, "a kind among"),
        ({"provenance": 3}, {}, "needs a provenance"),
        ({"num_windows": 2}, {}, "should hold 2 windows; it has 1"),
        ({}, {"frame": 3.0}, "line 2: a window needs exactly"),
        ({}, {"more": 1}, "line 2: a window needs exactly"),
    ],
)
def test_refuses_lines_that_are_no_index(tmp_path: Path, heading: dict, line: dict, message: str):
    path = tmp_path / "time.jsonl"
    path.write_text(f"{json.dumps(HEADING)}\n{json.dumps(LINE)}\n")
    assert read_index(path).windows[0].frame == 3
    path.write_text(f"{json.dumps(HEADING | heading)}\n{json.dumps(LINE | line)}\n")
    with pytest.raises(ValueError, match=message):
        read_index(path)


@pytest.mark.parametrize("text", ["", "[]\n", "{\n", "[" * 100_000])
def test_refuses_what_is_no_json_object(tmp_path: Path, text: str):
    (tmp_path / "time.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"line 1: (not JSON|needed an object)"):
        read_index(tmp_path / "time.jsonl")


def test_windows_outside_and_unknown_names_are_counted_and_the_rest_is_used():
    """A trajectory of 20 frames, 0 to 19; the last frame and the first may just be used."""

    def window(frame: int, low: int, high: int, name: str = "drive1") -> Window:
        return Window(trajectory=name, frame=frame, min_offset=low, max_offset=high)

    good = [window(11, -11, 8), window(3, 8, 8), window(19, -1, 0)]
    bad = {
        window(11, -12, 8): "it needs frames -1 to 19; the trajectory has 0 to 19",
        window(12, 8, 8): "it needs frames 9 to 20; the trajectory has 0 to 19",
        window(2, 8, 8): "it needs frames -1 to 10; the trajectory has 0 to 19",
        window(30, -25, -20): "it needs frames 5 to 30; the trajectory has 0 to 19",
        window(9, 8, 3): "its range of goals, 8 to 3, is empty",
    }
    unknown = [window(3, 8, 8, "gone"), window(9, 8, 8, "gone"), window(3, 8, 8, "../etc")]
    index = EvaluationIndex(kind=IndexKind.navigation, windows=(*unknown[:2], *good, *bad, unknown[2]))
    trajectories = [drive(20, seed=2), drive(20, seed=1)]
    match = match_index(index, trajectories)
    assert match.usable == tuple((each, trajectories[1]) for each in good)
    assert {outside.window: outside.reason for outside in match.outside} == bad
    assert match.unknown == {"gone": 2, "../etc": 1}
    assert (match.num_unusable, match.is_same_data) == (8, None)
    said = match.describe().splitlines()
    assert said[:2] == ["3 windows usable, 8 not", "unknown trajectory gone: 2 windows"]
    assert "drive1, frame 30: it needs frames 5 to 30; the trajectory has 0 to 19" in said
    assert len(match_index(index, trajectories, num_context=3).outside) == 4


def test_an_index_knows_the_recordings_that_it_was_made_for():
    trajectories = [drive(20, seed=1)]
    index = EvaluationIndex(
        kind=IndexKind.time, windows=(), provenance={"data_fingerprint": fingerprint(trajectories)}
    )
    assert match_index(index, trajectories).is_same_data is True
    other = match_index(index, [drive(20, seed=2)])
    assert other.is_same_data is False
    assert other.describe().endswith("generated for other recordings than these")


def test_refuses_names_that_are_shared():
    with pytest.raises(ValueError, match="1 names are shared, 'drive1' the first"):
        name_trajectories([drive(5, seed=1), drive(7, seed=1), drive(5, seed=2)])
