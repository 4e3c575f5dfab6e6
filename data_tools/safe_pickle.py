"""Safe pickle: arrays and plain containers out of a pickle that nobody vouches for, and nothing else.

Python's unpickler calls whatever the file names. This one hands out stand-ins for the few constructors that
NumPy's own pickles need, checks what they are given, and refuses every other name, so that a file can neither
run code nor describe an array larger than itself. What it can do is mention one container many times inside
another: reading takes each once, but to convert, print or compare the result may take for ever.
"""

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Shaped

MAX_BYTES = 64 * 2**20
"""Largest pickle that is read: two million poses."""

Plain = object
"""None, bool, int, float, complex, str, bytes, NumPy arrays and scalars, and containers of these."""

# Opcodes of the pickle machine that build instances of classes, or ask the program for objects.
_REFUSED_OPCODES = {"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"} | {
    "NEXT_BUFFER",
    "READONLY_BUFFER",
}
_NUMBER_TYPE = re.compile(r"[<>=|]?(\?|[biufc][0-9]{1,2}|[SU][0-9]{1,6})")


def load_pickle(path: Path) -> Plain:
    """Read a pickle of arrays and plain containers; ValueError for all else, and nothing of it executed."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path} has {size} bytes; pickles of arrays are read up to {MAX_BYTES}")
    return loads_pickle(path.read_bytes(), name=str(path))


def loads_pickle(data: bytes, *, name: str) -> Plain:
    """Read a pickle from memory as `load_pickle` does; `name` is what an error calls it."""
    try:
        _check_opcodes(data)
        return _Resolver().resolve(_Unpickler(io.BytesIO(data), encoding="latin1").load())
    except _Refused as error:
        raise ValueError(
            f"{name} is refused: {error}. Only NumPy arrays and plain containers are read from pickles, "
            "because anything else could run code; convert it where you trust it"
        ) from error
    except Exception as error:  # broken pickles raise anything, as the documentation of pickle says
        raise ValueError(f"{name} is not a whole pickle: {type(error).__name__}: {error}") from error


class _Refused(Exception):
    """The pickle is well formed and asks for what is not allowed."""


def _check_opcodes(data: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _REFUSED_OPCODES:
            raise _Refused(f"it builds instances of classes ({opcode.name})")
        # The memo is a C array as long as its largest index: one opcode could ask for all memory.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument) <= len(data):  # type: ignore[arg-type]
            raise _Refused("its memo is larger than itself")


class _Constructor:
    """What a name in a pickle stands for; cannot be changed by the pickle."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., object]) -> None:
        self._build = build

    def __call__(self, *arguments: object) -> object:
        return self._build(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _Refused("it alters a constructor")


class _Dtype:
    """A number type, as a pickle describes it."""

    def __init__(self, name: object, *_: object) -> None:
        if not isinstance(name, str) or not _NUMBER_TYPE.fullmatch(name):
            raise _Refused(f"it holds an array of {str(name)[:40]!r}, not of numbers or strings")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        if any(part is not None for part in state[2:5]):
            raise _Refused("it holds an array with fields")
        if state[1] not in ("<", ">", "=", "|"):
            raise _Refused(f"it holds an array of byte order {state[1]!r}")
        self.dtype = np.dtype(f"{state[1]}{self.dtype.str[1:]}")


class _Array:
    """An array whose content the pickle delivers after it has been announced."""

    value: np.ndarray | None = None

    def __setstate__(self, state: tuple[object, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        self.value = _build_array(content, dtype, shape, "F" if is_fortran else "C")


def _build_array(content: object, dtype: object, shape: object, order: object) -> Shaped[np.ndarray, "..."]:
    # Pickles of Python 2 hold the bytes as text.
    raw = content.encode("latin1") if isinstance(content, str) else content
    if (
        not isinstance(dtype, _Dtype)
        or not isinstance(raw, bytes | bytearray)
        or not isinstance(shape, tuple)
    ):
        raise _Refused("it holds an array of objects")
    flat = np.frombuffer(raw, dtype=dtype.dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C").copy(order="K")


def _build_scalar(dtype: object, content: object) -> object:
    return _build_array(content, dtype, (), "C")[()]


def _encode(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("it encodes text other than bytes")
    return text.encode("latin1")


def _constructors() -> dict[tuple[str, str], object]:
    allowed: dict[tuple[str, str], object] = {
        ("numpy", "ndarray"): _Constructor(lambda *_: _Array()),
        ("numpy", "dtype"): _Constructor(_Dtype),
        ("collections", "OrderedDict"): _Constructor(dict),
        ("_codecs", "encode"): _Constructor(_encode),
    }
    for builtins in ("builtins", "__builtin__"):  # Python 3 and Python 2
        for build in (set, complex):
            allowed[builtins, build.__name__] = _Constructor(build)
        allowed[builtins, "frozenset"] = _Constructor(_FrozenSet)
        allowed[builtins, "bytes"] = _Constructor(lambda: b"")  # how protocol 2 writes no bytes
    for core in ("numpy.core", "numpy._core"):  # NumPy 1 and NumPy 2
        allowed[f"{core}.multiarray", "_reconstruct"] = _Constructor(lambda *_: _Array())
        allowed[f"{core}.multiarray", "scalar"] = _Constructor(_build_scalar)
        allowed[f"{core}.numeric", "_frombuffer"] = _Constructor(_build_array)
    return allowed


class _Tuple(tuple):
    """A tuple that is no key: hashing one that mentions others many times over would never end."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise _Refused("it holds a tuple as a key or as a member of a set")


class _FrozenSet(frozenset):
    """A frozen set that is no key, for the same reason: equal ones would be compared."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise _Refused("it holds a frozen set as a key or as a member of a set")


def _load_as(container: type[tuple] | type[frozenset], opcode: bytes) -> Callable[[Any], None]:
    """Return the function of an opcode that builds a container, with ours in its place."""
    load = pickle._Unpickler.dispatch[opcode[0]]

    def load_ours(unpickler: Any) -> None:
        load(unpickler)
        unpickler.stack[-1] = container(unpickler.stack[-1])

    return load_ours


class _Unpickler(pickle._Unpickler):
    """The unpickler in Python: that in C hashes keys before anybody can look at them."""

    dispatch: ClassVar = {
        **pickle._Unpickler.dispatch,
        **{
            opcode[0]: _load_as(_Tuple, opcode)
            for opcode in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_TUPLE)
        },
        pickle.FROZENSET[0]: _load_as(_FrozenSet, pickle.FROZENSET),
    }

    def find_class(self, module: str, name: str) -> object:
        found = _constructors().get((module, name))
        if found is None:
            raise _Refused(f"it names {module}.{name}")
        return found


class _Resolver:
    """Puts the arrays in the place of their announcements, and refuses what is not plain."""

    def __init__(self) -> None:
        self._done: dict[int, object] = {}  # by identity: a container shared a thousand times is walked once
        self._kept: list[object] = []  # keeps identities in use from being given away again
        self._open: set[int] = set()

    def resolve(self, value: object) -> Plain:
        if id(value) in self._done:
            return self._done[id(value)]
        if id(value) in self._open:
            raise _Refused("it holds a container inside itself")
        self._open.add(id(value))
        resolved = self._resolve_new(value)
        self._open.remove(id(value))
        self._done[id(value)] = resolved
        self._kept.append(value)
        return resolved

    def _resolve_new(self, value: object) -> Plain:
        match value:
            case _Array():
                if value.value is None:
                    raise _Refused("it announces an array and delivers none")
                return value.value
            case dict():
                return {self.resolve(key): self.resolve(item) for key, item in value.items()}
            case tuple():
                return tuple(self.resolve(item) for item in value)
            case frozenset():
                return frozenset(self.resolve(item) for item in value)
            case list() | set():
                return type(value)(self.resolve(item) for item in value)
            case (
                None
                | bool()
                | int()
                | float()
                | complex()
                | str()
                | bytes()
                | bytearray()
                | np.generic()
                | np.ndarray()
            ):
                return value
            case _:
                raise _Refused("it holds a constructor instead of a value")
