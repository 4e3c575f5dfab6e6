"""Compare two open-loop runs, problem by problem.

`python -m planners.evaluation.compare first=FOLDER second=FOLDER`

Every method that both have is compared with itself, or `first_method` with `second_method`; the two folders
may be one.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import MISSING, DictConfig
from rich.console import Console

from data_tools import config as configuration
from data_tools.whole_file import write_text
from planners.evaluation.explanations import COLUMNS
from planners.evaluation.metrics import Interval
from planners.evaluation.paired import Joined, PairedTable, compare_pairs, join
from planners.evaluation.records import OpenLoopRow, from_table

ROWS = "open_loop.parquet"
"""What open loop and scoring write."""
_DIGITS = 3


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """What is compared.

    Attributes:
        first: Folder of a run, or its Parquet file of rows.
        second: The other's.
        out: Folder of `compare.json` and `compare.md`.
        first_method: Null compares every method that both have.
        second_method: Null is `first_method`.
        max_unmatched: Problems that may be in one run only.
        seed: Of the bootstrap.
    """

    first: str = MISSING
    second: str = MISSING
    out: str = "outputs/compare"
    first_method: str | None = None
    second_method: str | None = None
    max_unmatched: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_unmatched < 0:
            raise ValueError(f"max_unmatched must be at least 0; got {self.max_unmatched}")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One pair of methods."""

    first_method: str
    second_method: str
    joined: Joined
    tables: tuple[PairedTable, ...]


def read_rows(path: Path) -> list[OpenLoopRow]:
    """Read the open-loop rows of a run's folder or file; ValueError names what is no such file."""
    file = path / ROWS if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing; a run of open loop or of scoring leaves it in its folder"
        )
    try:
        return from_table(pq.read_table(file), OpenLoopRow)
    except pa.ArrowException as error:
        raise ValueError(f"{file} is not a Parquet file of rows: {error}") from error


def compare(
    first: Sequence[OpenLoopRow], second: Sequence[OpenLoopRow], config: CompareConfig
) -> list[Comparison]:
    """Compare the methods that the configuration names, or all that both have."""
    compared = []
    for names in _method_pairs(first, second, config):
        own = [
            [row for row in rows if row.method == name]
            for rows, name in zip((first, second), names, strict=True)
        ]
        joined = join(*own, max_unmatched=config.max_unmatched)
        compared.append(
            Comparison(
                first_method=names[0],
                second_method=names[1],
                joined=joined,
                tables=tuple(compare_pairs(joined, seed=config.seed)),
            )
        )
    return compared


def to_markdown(comparisons: Sequence[Comparison]) -> str:
    """Return the tables as Markdown."""
    lines: list[str] = []
    for each in comparisons:
        for table in each.tables:
            lines += _table_lines(table)
        lines += [*_left_out(each), ""]
    return "\n".join(lines)


def to_json(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return the comparisons as plain containers; what is not finite is null."""
    return [
        {
            "first_method": each.first_method,
            "second_method": each.second_method,
            "only_first": list(each.joined.only_first),
            "only_second": list(each.joined.only_second),
            "failed": list(each.joined.failed),
            "tables": [
                {
                    "split": table.split,
                    "goal_s": table.horizon.goal_s,
                    "num_steps": table.horizon.num_steps,
                    "num_problems": table.num_problems,
                    "metrics": {
                        metric: {
                            field.name: _interval_json(getattr(paired, field.name))
                            for field in dataclasses.fields(paired)
                        }
                        for metric, paired in table.metrics.items()
                    },
                }
                for table in each.tables
            ],
        }
        for each in comparisons
    ]


def _method_pairs(
    first: Sequence[OpenLoopRow], second: Sequence[OpenLoopRow], config: CompareConfig
) -> list[tuple[str, str]]:
    known = [list(dict.fromkeys(row.method for row in rows)) for rows in (first, second)]
    if config.first_method is None and config.second_method is None:
        shared = [(name, name) for name in known[0] if name in known[1]]
        if not shared:
            raise ValueError(
                f"no method is in both: the first has {', '.join(known[0])}, the second "
                f"{', '.join(known[1])}; name two with first_method and second_method"
            )
        return shared
    one = config.first_method or config.second_method
    assert one is not None
    pair = (one, config.second_method or one)
    for name, methods, which in zip(pair, known, ("first", "second"), strict=True):
        if name not in methods:
            raise ValueError(f"the {which} has no method {name!r}; it has {', '.join(methods)}")
    return [pair]


def _table_lines(table: PairedTable) -> list[str]:
    split = table.split.replace("_", " ")
    title = f"{table.first_method} against {table.second_method}, {split}, {table.horizon.label}"
    lines = [
        f"### {title}: {table.num_problems} problems",
        "",
        "| metric | first | second | second less first | won by the second |",
        "| --- | --- | --- | --- | --- |",
    ]
    for metric, paired in table.metrics.items():
        name, unit = COLUMNS[metric]
        cells = [_cell(each) for each in (paired.first, paired.second, paired.difference, paired.won)]
        lines.append(f"| {' | '.join([f'{name} [{unit}]', *cells])} |")
    return [*lines, ""]


def _left_out(comparison: Comparison) -> list[str]:
    joined = comparison.joined
    counts = {
        "in the first only": joined.only_first,
        "in the second only": joined.only_second,
        "failed by one of the two": joined.failed,
    }
    return [f"{len(names)} problems {what}: {', '.join(names)}." for what, names in counts.items() if names]


def _cell(interval: Interval) -> str:
    mean, low, high = (f"{value:.{_DIGITS}f}" for value in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"


def _interval_json(interval: Interval) -> dict[str, float | int | None]:
    return {
        name: value if math.isfinite(value) else None for name, value in dataclasses.asdict(interval).items()
    }


@hydra.main(version_base=None, config_path="../conf", config_name="compare")
def main(node: DictConfig) -> None:
    """Compare, print the tables, and write them as Markdown and JSON."""
    config = configuration.to_object(node, CompareConfig)
    console = Console()
    try:
        found = compare(read_rows(Path(config.first)), read_rows(Path(config.second)), config)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
    text, out = to_markdown(found), Path(config.out)
    write_text(out / "compare.md", text + "\n")
    write_text(out / "compare.json", json.dumps(to_json(found), indent=2, allow_nan=False) + "\n")
    console.print(text, markup=False, soft_wrap=True)


configuration.store("compare_schema", CompareConfig)

if __name__ == "__main__":
    main()
