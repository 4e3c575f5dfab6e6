"""GenEval: `python -m worldmodel.evaluation.geneval model=FOLDER data=evaluation_metadata.jsonl out=FOLDER`.

Draws `images/00000/samples/0000.png` and on with `metadata.jsonl` beside them, as the official scorer reads
them, and scores what a detector finds. A request to the judge is {"id", "image", "sha256", "classes",
"colors"}: path and hash of a picture, the classes that its prompt is about, and the colours to choose from:
the ten of the benchmark, whichever of them the prompt asks for, or none if it asks for none. Its answer is
{"id", "objects": [{"class", "score", "box": [left, top, right, bottom], "color"}]}, where `color` is one of
those ten, and may be left out for objects whose colour nobody asks for. `results=FILE` scores the results of
the official `evaluate_images.py` instead.

Source: GenEval (arXiv 2310.11513) and the rules of github.com/djghosh13/geneval, `evaluate_images.py` and
`summary_scores.py`: thresholds 0.3 (0.9 for counting), at most 16 objects a class, 0.1 for positions; the
score is the mean over tasks of the share of correct pictures.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from jaxtyping import Float
from omegaconf import DictConfig

from data_tools.config import store, to_object
from data_tools.randomness import numpy_generator_for
from data_tools.whole_file import write_text
from worldmodel.evaluation.benchmark import (
    BenchmarkConfig,
    Stage,
    ask_judge,
    draw_or_find,
    named,
    publish_benchmark,
)
from worldmodel.evaluation.intervals import mean_interval
from worldmodel.evaluation.made_by import find
from worldmodel.evaluation.results import Row, hash_files

THRESHOLD, COUNTING_THRESHOLD = 0.3, 0.9
MAX_OBJECTS = 16
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
"""What the official classifier chooses from: among fewer, a picture of another colour could pass."""
POSITION_THRESHOLD = 0.1


@dataclass(frozen=True, kw_only=True)
class GenEvalConfig(BenchmarkConfig):
    """Settings of GenEval."""

    num_samples: int = 4
    """Pictures a prompt; the benchmark has 4."""
    results: str | None = None
    """JSON lines of the official scorer, to be summarised."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_samples < 1:
            raise ValueError(f"needed num_samples of at least 1, got {self.num_samples}")


@dataclass(frozen=True)
class Found:
    """An object in a picture; the box is left, top, right, bottom [pixels]."""

    name: str
    score: float
    box: Float[np.ndarray, "4"]
    color: str | None


def read_metadata(path: Path) -> list[dict[str, Any]]:
    """Read one prompt a line; ValueError for a line that is none."""
    prompts = []
    # Not splitlines, which cuts at separators that may stand in a JSON string.
    for number, line in enumerate(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"), start=1):
        try:
            prompt = json.loads(line)
            assert isinstance(prompt["tag"], str) and isinstance(prompt["prompt"], str)
            assert all("class" in each and "count" in each for each in prompt["include"])
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise ValueError(
                f"{path}, line {number}: needed an object with tag, prompt and include (class and count of "
                f"each): {error!r}; get evaluation_metadata.jsonl of GenEval"
            ) from error
        prompts.append(prompt)
    return prompts


def layout(prompts: Sequence[Mapping[str, Any]], images: Path, *, num_samples: int) -> list[list[Path]]:
    """Return the pictures of each prompt."""
    return [
        [images / f"{number:05}" / "samples" / f"{sample:04}.png" for sample in range(num_samples)]
        for number in range(len(prompts))
    ]


def parse_objects(answer: Mapping[str, Any], *, tag: str) -> dict[str, list[Found]]:
    """Return the objects that count in a task, by class, surest first."""
    try:
        found = [
            Found(
                each["class"],
                float(each["score"]),
                np.array(each["box"], dtype=np.float64).reshape(4),
                each.get("color"),
            )
            for each in answer["objects"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"the detector's answer {answer.get('id')!r} needs `objects`, each with class, score and box of "
            f"four numbers: {error!r}"
        ) from error
    threshold = COUNTING_THRESHOLD if tag == "counting" else THRESHOLD
    by_class: dict[str, list[Found]] = {}
    for each in sorted(found, key=lambda one: -one.score):
        kept = by_class.setdefault(each.name, [])
        if each.score > threshold and len(kept) < MAX_OBJECTS:
            kept.append(each)
    return {name: objects for name, objects in by_class.items() if objects}


def relations(one: Float[np.ndarray, "4"], other: Float[np.ndarray, "4"]) -> set[str]:
    """Return where a box is as seen from another one: left of, right of, above, below; up to two of them.

    Boxes that overlap too much in both directions have no relation.
    """
    (left, top, right, bottom), (left2, top2, right2, bottom2) = one, other
    offset = np.array([left + right - left2 - right2, top + bottom - top2 - bottom2]) / 2
    sizes = np.abs([right - left + right2 - left2, bottom - top + bottom2 - top2])
    beyond = np.maximum(np.abs(offset) - POSITION_THRESHOLD * sizes, 0) * np.sign(offset)
    if (np.abs(beyond) < 1e-3).all():
        return set()
    dx, dy = beyond / np.linalg.norm(offset)
    checks = {"left of": dx < -0.5, "right of": dx > 0.5, "above": dy < -0.5, "below": dy > 0.5}
    return {name for name, holds in checks.items() if holds}


def check(objects: Mapping[str, list[Found]], prompt: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a picture; an empty list for a correct one.

    Included objects must all be there, none of the excluded ones. Colour and position are judged on the
    surest objects alone.
    """
    reasons: list[str] = []
    matched: list[list[Found] | None] = []
    for wanted in prompt["include"]:
        found = objects.get(wanted["class"], [])[: wanted["count"]]
        complaint = _complaint(wanted, found, matched)
        reasons += [] if complaint is None else [complaint]
        matched.append(found if complaint is None else None)
    for unwanted in prompt.get("exclude", []):
        count = len(objects.get(unwanted["class"], []))
        if count >= unwanted["count"]:
            reasons.append(f"expected {unwanted['class']}<{unwanted['count']}, found {count}")
    return reasons


def _complaint(
    wanted: Mapping[str, Any], found: Sequence[Found], matched: Sequence[Sequence[Found] | None]
) -> str | None:
    name, count = wanted["class"], wanted["count"]
    if len(found) < count:
        return f"expected {name}>={count}, found {len(found)}"
    if "color" in wanted:
        if any(each.color is None for each in found):
            raise ValueError(f"the prompt asks for a {wanted['color']} {name}; the detector gave no color")
        num_right = sum(each.color == wanted["color"] for each in found)
        if num_right < count:
            return f"expected {wanted['color']} {name}>={count}, found {num_right} {wanted['color']}"
    if "position" not in wanted:
        return None
    relation, target = wanted["position"]
    others = matched[target]
    if others is None:
        return f"no target for {name} to be {relation}"
    is_there = all(relation in relations(each.box, other.box) for each in found for other in others)
    return None if is_there else f"expected {name} {relation} target"


def score_rows(results: Sequence[Mapping[str, Any]], *, seed: int) -> list[Row]:
    """Return the score (mean over tasks), and shares of correct pictures by task, over prompts."""
    rows, means = [], []
    prompts = [str(each["metadata"]) for each in results]
    right = np.array([bool(each["correct"]) for each in results], dtype=np.float64)
    tags = [str(each["tag"]) for each in results]
    for tag in dict.fromkeys(tags):
        of_task = np.array([each == tag for each in tags])
        groups = [prompt for prompt, is_in in zip(prompts, of_task, strict=True) if is_in]
        found = mean_interval(right[of_task], groups, rng=numpy_generator_for(seed, f"bootstrap/{tag}"))
        rows.append(Row.of("geneval", tag, found, n=int(of_task.sum()), unit="pictures", over="prompts"))
        means.append(found.value)
    whole = Row(
        measure="geneval", subset="overall", value=float(np.mean(means)), n=len(results), unit="pictures"
    )
    any_right = [
        max(is_right for is_right, own in zip(right, prompts, strict=True) if own == prompt)
        for prompt in dict.fromkeys(prompts)
    ]
    at_least_one = Row(
        measure="geneval/any picture of a prompt",
        subset="overall",
        value=float(np.mean(any_right)),
        n=len(any_right),
        unit="prompts",
    )
    return [whole, *rows, at_least_one]


def detect(
    prompts: Sequence[Mapping[str, Any]], pictures: Sequence[Sequence[Path]], config: GenEvalConfig
) -> list[dict[str, Any]] | None:
    """Return a result for each picture, in the form of the official scorer; None without a judge."""
    pairs = [(prompt, path) for prompt, paths in zip(prompts, pictures, strict=True) for path in paths]
    names = [f"{path.parent.parent.name}/{path.name}" for _, path in pairs]
    requests = [
        (
            path,
            {
                "id": name,
                "classes": sorted({e["class"] for e in (*prompt["include"], *prompt.get("exclude", []))}),
                "colors": list(COLORS) if any("color" in each for each in prompt["include"]) else [],
            },
        )
        for name, (prompt, path) in zip(names, pairs, strict=True)
    ]
    answers = ask_judge(config, requests, what="GenEval")
    if answers is None:
        return None
    results = []
    for name, (prompt, path) in zip(names, pairs, strict=True):
        objects = parse_objects(answers[name], tag=prompt["tag"])
        reasons = check(objects, prompt)
        boxes = {key: [[*one.box.tolist(), one.score] for one in value] for key, value in objects.items()}
        results.append(
            {
                "filename": str(path),
                "tag": prompt["tag"],
                "prompt": prompt["prompt"],
                "correct": not reasons,
                "reason": "\n".join(reasons),
                "metadata": json.dumps(prompt),
                "details": json.dumps(boxes),
            }
        )
    return results


def run(config: GenEvalConfig) -> list[Row]:
    """Draw, score, or both."""
    prompts = read_metadata(Path(config.data))
    pictures = layout(prompts, config.images, num_samples=config.num_samples)
    wanted = [(p["prompt"], path) for p, paths in zip(prompts, pictures, strict=True) for path in paths]
    is_scored = config.stage is Stage.score and config.results is not None  # the pictures may be elsewhere
    made_by = find(config, named(config, wanted)) if is_scored else draw_or_find(config, wanted)
    if config.stage is not Stage.score:
        for prompt, paths in zip(prompts, pictures, strict=True):
            write_text(paths[0].parent.parent / "metadata.jsonl", json.dumps(prompt))
    if config.stage is Stage.generate:
        return []
    if config.results is not None:
        lines = Path(config.results).read_text(encoding="utf-8").split("\n")
        results = [json.loads(line) for line in lines if line.strip()]
    else:
        results = detect(prompts, pictures, config)
    if results is None:
        return []
    text = "".join(json.dumps(each) + "\n" for each in results)
    write_text(Path(config.out) / "results.jsonl", text)
    rows = score_rows(results, seed=config.seed)
    publish_benchmark("geneval", config, rows, data_hash=hash_files([Path(config.data)]), made_by=made_by)
    return rows


store("geneval_schema", GenEvalConfig)


@hydra.main(version_base=None, config_path="../conf", config_name="geneval")
def main(node: DictConfig) -> None:
    """Run the configured benchmark."""
    run(to_object(node, GenEvalConfig))


if __name__ == "__main__":
    main()
