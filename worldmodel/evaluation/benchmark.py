"""Benchmark: what all commands for public benchmarks share: settings, stages, and where rows come from."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch
from omegaconf import MISSING

from data_tools.config import to_dict
from worldmodel.evaluation.generators import open_generator
from worldmodel.evaluation.pictures import draw_into
from worldmodel.evaluation.results import Origin, Row, hash_files, hash_model, publish
from worldmodel.model_folder import resolve
from worldmodel.precision import Precision


class Stage(Enum):
    """What is done."""

    generate = "generate"  # draw into the benchmark's own layout, for its own scorer
    score = "score"  # score what lies there
    both = "both"


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Settings of every benchmark."""

    model: str | None = None
    """Not needed to score pictures that are there."""
    data: str = MISSING
    out: str = MISSING
    """Folder that gets `images/`, what a judge was asked and answered, and the rows."""
    stage: Stage = Stage.both
    judge: list[str] | None = None
    """Program and arguments (judge.py); without one its answers are taken from `out`, if they are there."""
    judge_timeout_s: float = 86400.0
    at_once: int = 16
    seed: int = 0
    num_threads: int = 1
    precision: Precision = Precision.float32

    @property
    def images(self) -> Path:
        """Where the pictures lie."""
        return Path(self.out) / "images"


def generate(config: BenchmarkConfig, wanted: Sequence[tuple[str, Path]]) -> None:
    """Draw the pictures that are missing; ValueError without a model."""
    torch.set_num_threads(config.num_threads)
    if config.model is None:
        raise ValueError("needed a model to draw with, got none; give model=FOLDER, or stage=score")
    draw_into(
        open_generator(config.model, dtype=config.precision.dtype, seed=config.seed),
        wanted,
        Path(config.out),
        at_once=config.at_once,
    )


def check_there(paths: Sequence[Path]) -> None:
    """Refuse to score an incomplete set: FileNotFoundError that counts what is missing."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} pictures are missing, the first is {missing[0]}; draw them with "
            "stage=generate (it goes on where it stopped)"
        )


def say_absent(config: BenchmarkConfig, what: str) -> None:
    """Say why there are no rows."""
    print(
        f"no {what}: give judge=[PROGRAM,...], or put its answers to {config.out}/requests.jsonl into "
        f"{config.out}/answers.jsonl, or run the official scorer on {config.images}",
        file=sys.stderr,
    )


def publish_benchmark(
    command: str, config: BenchmarkConfig, rows: Sequence[Row], *, data: Sequence[Path]
) -> None:
    """Write the rows of a benchmark whose data are these files."""
    origin = Origin(
        command=command,
        model=config.model,
        model_hash=None if config.model is None else hash_model(resolve(config.model)),
        data=config.data,
        data_hash=hash_files(data),
        seed=config.seed,
        settings=to_dict(config),
    )
    publish(Path(config.out), rows, origin)
