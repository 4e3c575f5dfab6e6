"""Benchmark: what all commands for public benchmarks share: settings, stages, and where rows come from."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import sha256
from pathlib import Path

import torch
from omegaconf import MISSING

from worldmodel.evaluation.generators import open_generator
from worldmodel.evaluation.judge import Answer, Request, check_judge, judged
from worldmodel.evaluation.made_by import MadeBy, begin, find
from worldmodel.evaluation.pictures import draw_into
from worldmodel.evaluation.results import Row, publish_run
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

    def __post_init__(self) -> None:
        if self.at_once < 1 or self.num_threads < 1:
            raise ValueError(
                f"needed at_once and num_threads of at least 1, got {self.at_once} and {self.num_threads}"
            )

    @property
    def images(self) -> Path:
        """Where the pictures lie."""
        return Path(self.out) / "images"


def generate(config: BenchmarkConfig, wanted: Sequence[tuple[str, Path]]) -> MadeBy:
    """Draw the pictures that are missing, and return what draws them.

    ValueError without a model, or for pictures that something else drew; all that could stop the scoring is
    found before anything is drawn.
    """
    torch.set_num_threads(config.num_threads)
    if config.judge is not None:
        check_judge(config.judge)
    made_by = begin(config, named(config, wanted))
    assert config.model is not None
    model = open_generator(config.model, dtype=config.precision.dtype, seed=config.seed)
    draw_into(model, wanted, Path(config.out), at_once=config.at_once)
    return made_by


def draw_or_find(config: BenchmarkConfig, wanted: Sequence[tuple[str, Path]]) -> MadeBy | None:
    """Draw what is missing, or with stage=score check that all is there; return what drew it, if known."""
    if config.stage is not Stage.score:
        return generate(config, wanted)
    check_there([path for _, path in wanted])
    return find(config, named(config, wanted))


def named(config: BenchmarkConfig, wanted: Sequence[tuple[str, Path]]) -> list[tuple[str, str]]:
    """Return the names and texts of pictures: what they are, wherever `out` is."""
    return [(path.relative_to(config.out).as_posix(), text) for text, path in wanted]


def check_there(
    paths: Sequence[Path],
    *,
    what: str = "pictures",
    remedy: str = "draw them with stage=generate (it goes on where it stopped)",
) -> None:
    """Refuse to score an incomplete set: FileNotFoundError that counts what is missing."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} {what} are missing, the first is {missing[0]}; {remedy}"
        )


def ask_judge(
    config: BenchmarkConfig, requests: Sequence[tuple[Path, Request]], *, what: str
) -> dict[str, Answer] | None:
    """Return what is answered about pictures, by `id`; None if nobody answered, and then it says so.

    Each request gets the path of its picture, and a hash of its content: answers are to that very picture.
    """
    hashes = {path: sha256(path.read_bytes()).hexdigest() for path in {path for path, _ in requests}}
    whole = [{**request, "image": str(path.resolve()), "sha256": hashes[path]} for path, request in requests]
    answers = judged(whole, Path(config.out), command=config.judge, timeout_s=config.judge_timeout_s)
    if answers is None:
        print(
            f"no {what}: give judge=[PROGRAM,...], or put its answers to {config.out}/requests.jsonl into "
            f"{config.out}/answers.jsonl, or run the official scorer on {config.images}",
            file=sys.stderr,
        )
    return answers


def publish_benchmark(
    command: str, config: BenchmarkConfig, rows: Sequence[Row], *, data_hash: str, made_by: MadeBy | None
) -> None:
    """Write the rows of a benchmark, under the model that made what was scored."""
    if made_by is None:
        assert config.model is None, "what a model made is noted"
        publish_run(command, config, rows, data=config.data, data_hash=data_hash)
        return
    settings = replace(config, model=config.model or made_by.model)
    publish_run(command, settings, rows, data=config.data, data_hash=data_hash, model_hash=made_by.model_hash)
