"""Ablate: `python -m worldmodel.ablate table=feedforward data=FOLDER text=FOLDER out=FOLDER num_tokens=N`.

Trains each arm of a table with each seed, measures all on the same held-out documents, and leaves
`out/rows/*.parquet` (one row a run), `out/<table>.parquet` (all of them), `<table>.md`, `<table>.html` and
`<table>.png`. Killed at any moment the same command goes on: runs that have a row are skipped, others go on
from their last checkpoint. With `rows=FILE publish=docs` nothing is trained: the page is made from rows alone
and written, with them, to `docs/ablations`.
"""

import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import hydra
from omegaconf import DictConfig

from data_tools.config import store, to_object
from data_tools.whole_file import write_text
from worldmodel.ablation.crew import make_rows
from worldmodel.ablation.estimates import estimates_of
from worldmodel.ablation.measures import MeasureConfig
from worldmodel.ablation.page import sections_of, to_html, to_markdown
from worldmodel.ablation.plot import draw
from worldmodel.ablation.rows import Row, read_rows, write_rows
from worldmodel.ablation.sources import claim_sources
from worldmodel.ablation.table import Budget, Representations, Run, Setting, TableConfig, runs_of
from worldmodel.ablation.workshop import row_path


@dataclass(frozen=True, kw_only=True)
class AblateConfig:
    """Settings of the command; `table` is one of conf/table."""

    table: TableConfig = field(default_factory=TableConfig)
    data: str | None = None
    """Folder of recordings; needed to train, as are `text` and `out`."""
    text: str | None = None
    out: str | None = None
    representations: Representations = field(default_factory=Representations)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    arms: list[str] | None = None
    """Names of the arms to train; None trains all."""
    num_tokens: int | None = None
    """Tokens of documents that an arm is trained on; this or `num_steps`."""
    num_steps: int | None = None
    size: str = "micro"
    """The preset that every arm starts from; not called `preset`, which names a group of files to Hydra."""
    overrides: list[str] = field(default_factory=list)
    """Of every arm, as on the command line of `worldmodel.pretrain`."""
    workers: int = 1
    """Runs at a time, each with one thread."""
    keep_models: bool = False
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    rows: str | None = None
    """Parquet of rows to publish."""
    publish: str | None = None
    """Folder that gets `ablations/<table>.md` and what belongs to it."""

    def __post_init__(self) -> None:
        if self.workers < 1 or not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(
                f"needed at least one worker, and seeds that differ; got workers={self.workers} and "
                f"seeds={self.seeds}"
            )
        if self.rows is not None and self.publish is None:
            raise ValueError("rows=FILE is published, not trained; add publish=docs, or leave rows out")


def run(config: AblateConfig) -> None:
    """Make the rows that are missing, then the page; or the page from given rows alone."""
    if config.rows is not None:
        rows = read_rows(Path(config.rows))
    else:
        rows = _trained(config)
        assert config.out is not None
        _write(config.table, rows, Path(config.out))
    if config.publish is not None:
        _write(config.table, rows, Path(config.publish) / "ablations", html=False)


def _trained(config: AblateConfig) -> list[Row]:
    if config.data is None or config.text is None or config.out is None:
        raise ValueError("needed data=FOLDER, text=FOLDER and out=FOLDER to train, or rows=FILE publish=docs")
    setting = Setting(
        table=config.table,
        budget=Budget(num_tokens=config.num_tokens, num_steps=config.num_steps),
        data=config.data,
        text=config.text,
        representations=config.representations,
        preset=config.size,
        overrides=config.overrides,
        measure=config.measure,
    )
    out = Path(config.out)
    runs = runs_of(setting, seeds=config.seeds, arms=config.arms)
    with _held(out):
        claim_sources(out, data=config.data, text=config.text)
        missing = [each for each in runs if not _has_row(out, each)]
        print(
            f"{config.table.name}: {len(runs)} runs, {len(runs) - len(missing)} have their rows", flush=True
        )
        _make(missing, out, config)
    return [row for each in runs for row in read_rows(row_path(out, each))]


def _make(missing: list[Run], out: Path, config: AblateConfig) -> None:
    """Make the missing rows and say how it goes; SystemExit if some runs failed, when all others are done."""
    started, failed = time.perf_counter(), []
    finished = make_rows(missing, out, num_workers=config.workers, keep_models=config.keep_models)
    for count, each in enumerate(finished, start=1):
        left_s = (time.perf_counter() - started) / count * (len(missing) - count)
        if each.error is None:
            row = read_rows(row_path(out, each.run))[0]
            shown = [
                f"{name} {row.measure[name]:.3f}" for name in config.table.measures[:3] if name in row.measure
            ]
            said = f"{row.num_steps} steps in {row.training_s:.0f} s, measured in {row.measuring_s:.0f} s; "
            said += ", ".join(shown)
        else:
            failed.append(f"{each.run.name}: {each.error}")
            said = f"failed: {each.error}"
        print(f"[{count}/{len(missing)}, {left_s / 60:.0f} min left] {each.run.name}: {said}", flush=True)
    if failed:
        listed = "\n".join(failed)
        raise SystemExit(
            f"{len(failed)} runs have no row (see {out}/worker-*.log); the same command tries them again:\n"
            f"{listed}"
        )


def _has_row(out: Path, run: Run) -> bool:
    """Say whether a run is done; ValueError if its row is of other settings."""
    path = row_path(out, run)
    if not path.is_file():
        return False
    found = read_rows(path)[0].config_hash
    if found != run.config_hash:
        raise ValueError(
            f"{path} is of other settings, budget, representation or measures (hash {found}, needed "
            f"{run.config_hash}); give another `out`, or delete that row to make it anew"
        )
    return True


def _write(table: TableConfig, rows: list[Row], folder: Path, *, html: bool = True) -> None:
    """Write rows, picture and page."""
    if foreign := {row.table for row in rows} - {table.name}:
        raise ValueError(f"needed rows of the table {table.name}, got some of {sorted(foreign)}")
    named = [arm.name for arm in table.arms]
    if unknown := {row.arm for row in rows} - set(named):
        raise ValueError(f"table {table.name} has the arms {named}, the rows are of {sorted(unknown)} too")
    arms = estimates_of(rows, arms=named, measures=table.measures)
    picture = f"{table.name}.png"
    sections = sections_of(table, arms, measures=table.measures, picture=picture)
    write_rows(folder / f"{table.name}.parquet", rows)
    draw(arms, folder / picture, measures=table.measures)
    page = to_markdown(sections)
    write_text(folder / f"{table.name}.md", page)
    if html:
        write_text(folder / f"{table.name}.html", to_html(sections))
    print(f"{folder / table.name}.md", file=sys.stderr)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Keep other commands out of a folder; the system lets go when this process ends, however it ends."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another command works in {out}; wait for it, or give another `out`") from error
        yield


store("ablate_schema", AblateConfig)


@hydra.main(config_path="conf", config_name="ablate", version_base=None)
def main(node: DictConfig) -> None:
    """Run the configured comparison."""
    run(to_object(node, AblateConfig))


if __name__ == "__main__":
    main()
