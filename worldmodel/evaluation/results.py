"""Results: rows of one evaluation as JSON, Parquet and a table, with what they were made of."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_tools.config import to_dict
from data_tools.provenance import current_commit, installed_versions
from data_tools.whole_file import whole_file, write_text
from worldmodel.evaluation.intervals import Interval
from worldmodel.model_folder import resolve

JSON_NAME = "results.json"
PARQUET_NAME = "results.parquet"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number. What could not be computed has no row."""

    measure: str
    subset: str
    """Source, kind, category or question type that it is of; `all` for the whole."""
    value: float
    low: float | None = None
    high: float | None = None
    n: int
    unit: str
    """What `n` counts."""
    over: str | None = None
    """What the interval was resampled over; None without one."""

    @classmethod
    def of(
        cls, measure: str, subset: str, found: Interval, *, n: int, unit: str, over: str | None = None
    ) -> "Row":
        """Return a row with an interval, resampled over `over` (the same as `unit` if that is None)."""
        return cls(
            measure=measure,
            subset=subset,
            value=found.value,
            low=found.low,
            high=found.high,
            n=n,
            unit=unit,
            over=None if found.low is None else over or unit,
        )


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What rows were made of."""

    command: str
    model: str | None
    """As it was named; None where files alone were scored."""
    model_hash: str | None
    data: str
    data_hash: str
    seed: int
    settings: dict[str, object]


_TEXTS = ("measure", "subset", "unit", "over", "command", "model", "model_hash", "data", "data_hash")
_TEXTS += ("commit", "versions")
_COUNTS = ("n", "seed")
_NUMBERS = ("value", "low", "high")


def publish(out: Path, rows: Sequence[Row], origin: Origin, *, console: Console | None = None) -> None:
    """Write `results.json` and `results.parquet` into a folder, and show the rows as a table."""
    commit, versions = current_commit(), installed_versions()
    facts = {**asdict(origin), "commit": commit, "versions": versions}
    content = {**facts, "rows": [asdict(row) for row in rows]}
    write_text(out / JSON_NAME, json.dumps(content, indent=1))
    _write_parquet(out / PARQUET_NAME, rows, facts | {"versions": json.dumps(versions, sort_keys=True)})
    (console or Console()).print(as_table(rows, title=origin.command))


@runtime_checkable
class Settings(Protocol):
    """What the settings of every evaluation say."""

    @property
    def model(self) -> str | None:
        """Model folder, or the name of one that ships; None where files alone are scored."""
        ...

    @property
    def out(self) -> str:
        """Folder that gets the rows."""
        ...

    @property
    def seed(self) -> int:
        """What all draws come from."""
        ...


def publish_run(
    command: str,
    settings: Settings,
    rows: Sequence[Row],
    *,
    data: str,
    data_hash: str,
    model_hash: str | None = None,
) -> None:
    """Publish the rows of a command that ran with these settings.

    `model_hash` is of what made files that were there already; None takes that of the model in the settings.
    """
    if model_hash is None and settings.model is not None:
        model_hash = hash_model(resolve(settings.model))
    origin = Origin(
        command=command,
        model=settings.model,
        model_hash=model_hash,
        data=data,
        data_hash=data_hash,
        seed=settings.seed,
        settings=to_dict(settings),
    )
    publish(Path(settings.out), rows, origin)


def _write_parquet(path: Path, rows: Sequence[Row], facts: Mapping[str, object]) -> None:
    import pyarrow as pa  # noqa: PLC0415 - training imports this package and needs no Parquet
    import pyarrow.parquet as pq  # noqa: PLC0415

    types = [(_TEXTS, pa.string()), (_COUNTS, pa.int64()), (_NUMBERS, pa.float64())]
    schema = pa.schema([(name, kind) for names, kind in types for name in names])
    whole = [{**facts, **asdict(row)} for row in rows]
    content = [{name: row[name] for name in schema.names} for row in whole]
    with whole_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(content, schema=schema), temporary)


def as_table(rows: Sequence[Row], *, title: str) -> Table:
    """Return rows as a table for a terminal."""
    table = Table(title=title)
    for name in ("measure", "subset", "value", "95% interval", "n"):
        is_name = name in ("measure", "subset")
        table.add_column(name, justify="left" if is_name else "right", overflow="fold")
    for row in rows:
        interval = (
            "" if row.low is None or row.high is None else f"{row.low:.4g} to {row.high:.4g} ({row.over})"
        )
        # As plain text: brackets in names of encoders, questions and sources are no markup.
        cells = (row.measure, row.subset, f"{row.value:.4g}", interval, f"{row.n} {row.unit}")
        table.add_row(*(Text(cell) for cell in cells))
    return table


def hash_files(paths: Iterable[Path]) -> str:
    """Return a hash of the names and contents of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        content = hashlib.sha256()
        with path.open("rb") as opened:
            while block := opened.read(2**20):
                content.update(block)
        digest.update(f"{path.name}\0{content.hexdigest()}\0".encode())
    return digest.hexdigest()[:16]


def hash_sizes(paths: Iterable[Path]) -> str:
    """Return a hash of the names and sizes of files, for those that are too many to be read once more."""
    return hash_texts(f"{path.name} {path.stat().st_size}" for path in paths)


def hash_texts(texts: Iterable[str]) -> str:
    """Return a hash of texts in their order."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(f"{len(encoded)}\0".encode() + encoded)
    return digest.hexdigest()[:16]


def hash_model(folder: Path) -> str:
    """Return a hash of all files of a model folder but its notes."""
    return hash_files(sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors")))
