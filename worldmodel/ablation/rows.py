"""Row: one run of one arm, with all that its numbers depend on; Parquet on disk, one row a file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from data_tools.whole_file import whole_file

GROUPS = ("tokens", "measure")
"""Fields that are mappings; each of their entries is a column `<field>.<name>`."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came out of one run."""

    table: str
    arm: str
    seed: int
    config_hash: str
    """Of the run's settings, its budget, its representation and what was measured."""
    data: str
    """Hash of the recordings and texts that were trained on; the same in all rows of a table."""
    heldout: str
    """The same of the held-out ones."""
    representation: str
    commit: str | None
    versions: str
    """JSON."""
    hardware: str
    num_steps: int
    parameters_total: int
    parameters_active_text: int
    parameters_active_image: int
    latents_per_frame: int
    latent_channels: int
    training_s: float
    """In steps; of two runs at a time each has a core."""
    measuring_s: float
    tokens: dict[str, int]
    """Trained on, by kind of document."""
    measure: dict[str, float]
    """By name, as `measures` and `imagined` say; what an arm was not trained to do is absent."""


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as Parquet, whole or not at all."""
    import pyarrow as pa  # noqa: PLC0415 - importing this module must not need a reader of Parquet
    import pyarrow.parquet as pq  # noqa: PLC0415

    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    plain = [name for name in names if name.split(".")[0] not in GROUPS]
    ordered = plain + sorted(name for name in names if name not in plain)
    table = pa.table({name: [row.get(name) for row in flat] for name in ordered})
    with whole_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_rows(path: Path) -> list[Row]:
    """Read rows; ValueError if the file is no Parquet of such."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    if not path.is_file():
        raise FileNotFoundError(f"no rows at {path}; give the Parquet file that `worldmodel.ablate` wrote")
    try:
        flat = pq.read_table(path).to_pylist()
        return [_row(each) for each in flat]
    except (pa.ArrowInvalid, OSError, TypeError, KeyError) as error:
        raise ValueError(f"{path} holds no rows of this version: {error}; delete it and run again") from error


def _flat(row: Row) -> dict[str, object]:
    content: dict[str, object] = {}
    for each in fields(row):
        value = getattr(row, each.name)
        if isinstance(value, dict):
            content |= {f"{each.name}.{name}": entry for name, entry in value.items()}
        else:
            content[each.name] = value
    return content


def _row(flat: dict[str, object]) -> Row:
    plain: dict[str, object] = {}
    groups: dict[str, dict[str, object]] = {name: {} for name in GROUPS}
    for name, value in flat.items():
        group, dot, entry = name.partition(".")
        if not dot:
            plain[name] = value
        elif value is not None:
            groups[group][entry] = value
    return Row(**plain, **groups)  # pyright: ignore[reportArgumentType]


def versions_text(versions: dict[str, str]) -> str:
    """Return versions as they stand in a row."""
    return json.dumps(versions, sort_keys=True)
