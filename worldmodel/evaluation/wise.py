"""WISE: `python -m worldmodel.evaluation.wise model=FOLDER data=FOLDER out=FOLDER`.

`data` is a JSON file of WISE, or the folder of all three. Draws `images/<prompt_id>.png`, as the official
scorer reads them. A request to the judge is {"id", "image", "sha256", "prompt", "explanation"}, its answer
{"id", "consistency", "realism", "aesthetic_quality"}, each 0, 1 or 2; the official judge is
GPT-4o-2024-05-13 with the instructions of `gpt_eval.py`, and scores of another are not comparable.

Source: WISE (arXiv 2503.07265) and github.com/PKU-YuanGroup/WISE: WiScore = (0.7 consistency + 0.2 realism +
0.1 aesthetic quality) / 2; the overall score weighs six categories, which are ranges of `prompt_id`, by their
numbers of prompts. It is there for the whole set alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig

from data_tools.config import store, to_object
from data_tools.randomness import numpy_generator_for
from worldmodel.evaluation.benchmark import (
    BenchmarkConfig,
    Stage,
    ask_judge,
    draw_or_find,
    publish_benchmark,
)
from worldmodel.evaluation.intervals import mean_interval
from worldmodel.evaluation.judge import Answer
from worldmodel.evaluation.results import Row, hash_files

WEIGHTS = {"consistency": 0.7, "realism": 0.2, "aesthetic_quality": 0.1}
CATEGORIES = {  # last prompt_id and weight in the overall score
    "cultural": (400, 0.4),
    "time": (567, 0.167),
    "space": (700, 0.133),
    "biology": (800, 0.1),
    "physics": (900, 0.1),
    "chemistry": (1000, 0.1),
}
NUM_PROMPTS = 1000


@dataclass(frozen=True, kw_only=True)
class WiseConfig(BenchmarkConfig):
    """Settings of WISE."""


@dataclass(frozen=True)
class WisePrompt:
    """A prompt, and what a picture of it must show."""

    number: int
    prompt: str
    explanation: str

    @property
    def category(self) -> str:
        """Which of the six it is in."""
        return next(name for name, (last, _) in CATEGORIES.items() if self.number <= last)


def prompt_files(path: Path) -> list[Path]:
    """Return the files of prompts that a path names."""
    files = [path] if path.is_file() else sorted(path.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"{path} holds no JSON file; get the folder `data` of WISE")
    return files


def read_prompts(paths: Sequence[Path]) -> list[WisePrompt]:
    """Read all prompts, by number; ValueError for a file that holds others, or numbers that come twice."""
    prompts = sorted((each for path in paths for each in _prompts_of(path)), key=lambda each: each.number)
    twice = [one.number for one, other in pairwise(prompts) if one.number == other.number]
    if twice:
        raise ValueError(f"prompt_id {twice[0]} is there twice in {', '.join(map(str, paths))}; remove one")
    return prompts


def _prompts_of(path: Path) -> list[WisePrompt]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        prompts = [WisePrompt(int(e["prompt_id"]), e["Prompt"], e["Explanation"]) for e in content]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: needed a JSON list of objects with prompt_id, Prompt and Explanation: {error!r}"
        ) from error
    if strange := [each.number for each in prompts if not 1 <= each.number <= NUM_PROMPTS]:
        raise ValueError(f"{path}: needed a prompt_id from 1 to {NUM_PROMPTS}, got {strange[0]}")
    return prompts


def wi_score(answer: Answer) -> float:
    """Return the score of one picture, from 0 to 1; ValueError for grades other than 0, 1 and 2."""
    grades = {name: answer.get(name) for name in WEIGHTS}
    if any(grade not in (0, 1, 2) or isinstance(grade, bool) for grade in grades.values()):
        raise ValueError(
            f"needed grades 0, 1 or 2 of {', '.join(WEIGHTS)}; {answer.get('id')!r} has {grades}"
        )
    return sum(weight * float(str(grades[name])) for name, weight in WEIGHTS.items()) / 2


def score_rows(prompts: Sequence[WisePrompt], scores: Mapping[int, float], *, seed: int) -> list[Row]:
    """Return WiScores by category, and the overall one if every prompt of the benchmark is there."""
    rows = []
    for name in CATEGORIES:
        own = [each for each in prompts if each.category == name]
        if not own:
            continue
        values = np.array([scores[each.number] for each in own])
        groups = [str(each.number) for each in own]
        found = mean_interval(values, groups, rng=numpy_generator_for(seed, f"bootstrap/{name}"))
        rows.append(Row.of("wiscore", name, found, n=len(own), unit="prompts"))
    if len(prompts) == NUM_PROMPTS:
        total = sum(CATEGORIES[row.subset][1] * row.value for row in rows)
        rows.append(Row(measure="wiscore", subset="overall", value=total, n=len(prompts), unit="prompts"))
    return rows


def run(config: WiseConfig) -> list[Row]:
    """Draw, score, or both."""
    files = prompt_files(Path(config.data))
    prompts = read_prompts(files)
    pictures = [config.images / f"{each.number}.png" for each in prompts]
    made_by = draw_or_find(
        config, [(each.prompt, path) for each, path in zip(prompts, pictures, strict=True)]
    )
    if config.stage is Stage.generate:
        return []
    requests = [
        (path, {"id": str(each.number), "prompt": each.prompt, "explanation": each.explanation})
        for each, path in zip(prompts, pictures, strict=True)
    ]
    answers = ask_judge(config, requests, what="WiScore")
    if answers is None:
        return []
    scores = {each.number: wi_score(answers[str(each.number)]) for each in prompts}
    rows = score_rows(prompts, scores, seed=config.seed)
    publish_benchmark("wise", config, rows, data_hash=hash_files(files), made_by=made_by)
    return rows


store("wise_schema", WiseConfig)


@hydra.main(version_base=None, config_path="../conf", config_name="wise")
def main(node: DictConfig) -> None:
    """Run the configured benchmark."""
    run(to_object(node, WiseConfig))


if __name__ == "__main__":
    main()
