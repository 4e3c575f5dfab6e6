"""TextFiles: documents of plain text from local files of the common forms, in the order of the files.

A `.txt` or `.md` file is one document. `.jsonl` (also `.ndjson`; plain, `.gz` or `.zst`, as DCLM ships its
shards) holds one object a line, `.parquet` one row a document; both with the text in a field.
"""

import glob
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PLAIN = (".txt", ".md")
LINES = (".jsonl", ".ndjson")
PACKED = (".gz", ".zst", ".zstd")


@dataclass(frozen=True)
class TextSource:
    """Files whose documents are evaluated together."""

    name: str
    paths: tuple[Path, ...]


def open_sources(patterns: list[str]) -> list[TextSource]:
    """Return a source for each path: a file, or a folder with all that is below it.

    A pattern such as `texts/*` gives one source for each file or folder that it matches and that holds text.
    FileNotFoundError if nothing does.
    """
    sources: dict[str, TextSource] = {}
    for pattern in patterns:
        is_pattern = glob.has_magic(pattern)
        found = [Path(path) for path in sorted(glob.glob(pattern))] if is_pattern else [Path(pattern)]
        opened = [TextSource(name_of(path), text_files(path)) for path in found]
        kept = [source for source in opened if source.paths]
        if not kept:
            raise FileNotFoundError(
                f"{pattern} holds no text: needed {', '.join((*PLAIN, *LINES, '.parquet'))}, lines also as "
                f"{' or '.join(PACKED)}"
            )
        for source in kept:
            if source.name in sources:
                raise ValueError(f"two sources are called {source.name}; rename or copy one of them")
            sources[source.name] = source
    return list(sources.values())


def name_of(path: Path) -> str:
    """Return a source's name: that of the folder, or of the file without its suffixes."""
    return path.resolve().name if path.is_dir() else path.name.split(".")[0]


def text_files(path: Path) -> tuple[Path, ...]:
    """Return the files of text at a path or below it, sorted; FileNotFoundError if there is no such path."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; name a file or a folder of text")
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return tuple(each for each in files if form_of(each) is not None)


def form_of(path: Path) -> str | None:
    """Return `.txt`, `.jsonl` or `.parquet`, whichever a file is like; None for any other."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in PACKED:
        suffixes = suffixes[:-1]
        return ".jsonl" if suffixes and suffixes[-1] in LINES else None
    last = suffixes[-1] if suffixes else ""
    if last in PLAIN:
        return ".txt"
    if last in LINES:
        return ".jsonl"
    return ".parquet" if last == ".parquet" else None


def read_documents(source: TextSource, *, text_field: str) -> Iterator[str]:
    """Yield the documents of a source; ValueError for a file that is broken or lacks the field."""
    for path in source.paths:
        match form_of(path):
            case ".txt":
                yield _read_plain(path)
            case ".jsonl":
                yield from _read_lines(path, text_field)
            case _:
                yield from _read_parquet(path, text_field)


def _read_plain(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}; convert it") from error


def _open_lines(path: Path) -> io.TextIOBase:
    match path.suffix.lower():
        case ".gz":
            return io.TextIOWrapper(gzip.open(path), encoding="utf-8")
        case ".zst" | ".zstd":
            # Python has a reader of its own from 3.14 on.
            import pyarrow as pa  # noqa: PLC0415 - read when such a file is

            return io.TextIOWrapper(
                io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")), encoding="utf-8"
            )
        case _:
            return path.open(encoding="utf-8")


def _lines_of(path: Path) -> Iterator[str]:
    with _open_lines(path) as lines:
        yield from lines


def _read_lines(path: Path, text_field: str) -> Iterator[str]:
    number = 0
    try:
        for line in _lines_of(path):
            if line.strip():
                yield _text_of(json.loads(line), text_field)
            number += 1
    except (ValueError, KeyError, TypeError, OSError, EOFError) as error:
        raise ValueError(
            f"{path}, line {number + 1}: needed JSON objects with a text in {text_field!r}, one a line: "
            f"{type(error).__name__}: {error}; name another text_field, or get the file again"
        ) from error


def _text_of(content: object, text_field: str) -> str:
    if not isinstance(content, dict) or not isinstance(content.get(text_field), str):
        fields = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise TypeError(f"no text in {text_field!r}, only {fields}")
    return content[text_field]


def _read_parquet(path: Path, text_field: str) -> Iterator[str]:
    import pyarrow as pa  # noqa: PLC0415 - read when such a file is
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        opened = pq.ParquetFile(path)
        for batch in opened.iter_batches(columns=[text_field], batch_size=256):
            for value in batch.column(0).to_pylist():
                yield _text_of({text_field: value}, text_field)
    except (pa.ArrowException, KeyError, IndexError, TypeError, OSError) as error:
        raise ValueError(
            f"{path}: needed a column of texts called {text_field!r}: {type(error).__name__}: {error}"
        ) from error
