"""VQA: questions about photos, answered and scored as VQA v2 does.

`python -m worldmodel.evaluation.vqa model=FOLDER data=FILE annotations=FILE photos=FOLDER out=FOLDER`

Answers the questions of a set in the form of VQA v2 into `out/answers/model.json`, which
has the official form [{"question_id", "answer"}], and scores them with the official accuracy beside those of
the most frequent answer to each type of question, and of the model with the photos exchanged.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import hydra
import numpy as np
import torch
from omegaconf import MISSING, DictConfig

from data_tools.config import store, to_object
from data_tools.frames import read_frame
from data_tools.randomness import numpy_generator_for
from data_tools.whole_file import write_text
from worldmodel.evaluation.asked import Asked, generated_answers, with_other_pictures
from worldmodel.evaluation.benchmark import BenchmarkConfig, Stage, publish_benchmark
from worldmodel.evaluation.generators import open_generator
from worldmodel.evaluation.intervals import mean_interval
from worldmodel.evaluation.made_by import MadeBy, begin, find
from worldmodel.evaluation.pictures import square
from worldmodel.evaluation.protocols import Answers
from worldmodel.evaluation.results import Row, hash_files
from worldmodel.evaluation.vqa_accuracy import accuracy


@dataclass(frozen=True, kw_only=True)
class VqaConfig(BenchmarkConfig):
    """Settings of a set in the form of VQA; `data` is the file of its questions."""

    annotations: str | None = None
    """File with what people answered; not needed to answer alone."""
    photos: str = MISSING
    pattern: str = "COCO_val2014_{image_id:012d}.jpg"
    """Name of the photo of an `image_id`."""
    size: int = 224
    """Height and width of what the model is shown: the middle square of a photo [pixels]."""


@dataclass(frozen=True)
class VqaQuestion:
    """A question, its photo, and what people answered (nothing without annotations)."""

    number: int
    question: str
    image: Path
    people: tuple[str, ...]
    answer_type: str
    question_type: str


def read_questions(config: VqaConfig) -> list[VqaQuestion]:
    """Read questions and annotations; ValueError for files of another form, or a question without answers."""
    path = Path(config.data)
    try:
        questions = json.loads(path.read_text(encoding="utf-8"))["questions"]
        annotated = {}
        if config.annotations is not None:
            path = Path(config.annotations)
            annotations = json.loads(path.read_text(encoding="utf-8"))["annotations"]
            annotated = {each["question_id"]: each for each in annotations}
        found = [_question(each, annotated.get(each["question_id"]), config) for each in questions]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: needed the form of VQA: `questions` (question_id, image_id, question), `annotations` "
            f"(question_id, answer_type, question_type, answers): {error!r}"
        ) from error
    missing = sum(not each.people for each in found)
    if annotated and missing:
        raise ValueError(f"{config.annotations} has no answers to {missing} of {len(found)} questions")
    return found


def _question(content: dict, annotation: dict | None, config: VqaConfig) -> VqaQuestion:
    known = annotation or {"answers": [], "answer_type": "", "question_type": ""}
    return VqaQuestion(
        content["question_id"],
        content["question"],
        Path(config.photos) / config.pattern.format(image_id=content["image_id"]),
        tuple(each["answer"] for each in known["answers"]),
        known["answer_type"],
        known["question_type"],
    )


def as_asked(questions: Sequence[VqaQuestion], *, size: int) -> list[Asked]:
    """Return questions for a model, grouped by photo."""
    return [
        Asked(partial(_square, each.image, size), each.question, "", each.answer_type, each.image.name)
        for each in questions
    ]


def _square(path: Path, size: int) -> np.ndarray:
    return square(read_frame(path), size=size)


def majority(questions: Sequence[VqaQuestion]) -> list[str]:
    """Return for each question the answer that most people gave to questions of its type in this set."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for each in questions:
        counts[each.question_type].update(each.people)
    return [counts[each.question_type].most_common(1)[0][0] for each in questions]


def score_rows(
    questions: Sequence[VqaQuestion], answers: dict[str, Sequence[str]], *, seed: int
) -> list[Row]:
    """Return the accuracy [%] of each method, by type of answer and of question, over photos."""
    accuracies = {
        method: 100
        * np.array([accuracy(said, each.people) for said, each in zip(own, questions, strict=True)])
        for method, own in answers.items()
    }
    accuracies |= {
        f"model - {method}": accuracies["model"] - values
        for method, values in accuracies.items()
        if method != "model"
    }
    rows, rng = [], numpy_generator_for(seed, "bootstrap")
    subsets = {"all": np.ones(len(questions), dtype=np.bool_)}
    for field in ("answer_type", "question_type"):
        own = np.array([getattr(each, field) for each in questions])
        subsets |= {f"{field}: {name}": own == name for name in sorted(set(own.tolist()))}
    for subset, is_in in subsets.items():
        groups = [each.image.name for each, kept in zip(questions, is_in, strict=True) if kept]
        for method, values in accuracies.items():
            found = mean_interval(values[is_in], groups, rng=rng)
            rows.append(
                Row.of(
                    f"vqa_accuracy/{method}", subset, found, n=len(groups), unit="questions", over="photos"
                )
            )
    return rows


def answers_path(config: VqaConfig, name: str) -> Path:
    """Return where answers lie: `model`, or `other_pictures`."""
    return Path(config.out) / "answers" / f"{name}.json"


def answer_into(model: Answers, questions: Sequence[VqaQuestion], config: VqaConfig) -> None:
    """Write the answers of the model, and those with other photos."""
    items = as_asked(questions, size=config.size)
    asked = {"model": items}
    if len({item.group for item in items}) > 1:
        rng = numpy_generator_for(config.seed, "exchange")
        asked["other_pictures"] = with_other_pictures(items, rng=rng)
    for name, own in asked.items():
        said = generated_answers(model, own, at_once=config.at_once)
        content = [
            {"question_id": each.number, "answer": answer}
            for each, answer in zip(questions, said, strict=True)
        ]
        write_text(answers_path(config, name), json.dumps(content))


def answer_or_find(questions: Sequence[VqaQuestion], config: VqaConfig) -> MadeBy | None:
    """Write the answers, or with stage=score check that they are there; return what made them, if known."""
    if config.stage is Stage.score:
        read_answers(questions, answers_path(config, "model"))
        return find(config, named(questions, config))
    made_by = begin(config, named(questions, config))
    assert config.model is not None
    model = open_generator(config.model, dtype=config.precision.dtype, seed=config.seed)
    answer_into(model, questions, config)
    return made_by


def named(questions: Sequence[VqaQuestion], config: VqaConfig) -> list[tuple[str, str]]:
    """Return the number of each question, and what the model is shown: it and the photo."""
    return [
        (str(each.number), f"{each.image.name} at {config.size} px: {each.question}") for each in questions
    ]


def read_answers(questions: Sequence[VqaQuestion], path: Path) -> list[str]:
    """Read answers in the official form, in the order of the questions; ValueError if one is missing."""
    if not path.is_file():
        raise FileNotFoundError(f"no answers at {path}; make them with stage=generate")
    said = {each["question_id"]: each["answer"] for each in json.loads(path.read_text(encoding="utf-8"))}
    if missing := [each.number for each in questions if each.number not in said]:
        raise ValueError(
            f"{path} has no answer to {len(missing)} of {len(questions)} questions: {missing[:3]}"
        )
    return [said[each.number] for each in questions]


def run(config: VqaConfig) -> list[Row]:
    """Answer, score, or both."""
    torch.set_num_threads(config.num_threads)
    questions = read_questions(config)
    if config.annotations is None and config.stage is not Stage.generate:
        raise ValueError("needed what people answered: give annotations=FILE, or stage=generate")
    made_by = answer_or_find(questions, config)
    if config.annotations is None or config.stage is Stage.generate:
        return []
    answers: dict[str, Sequence[str]] = {
        "model": read_answers(questions, answers_path(config, "model")),
        "majority": majority(questions),
    }
    if answers_path(config, "other_pictures").is_file():
        answers["other pictures"] = read_answers(questions, answers_path(config, "other_pictures"))
    rows = score_rows(questions, answers, seed=config.seed)
    data_hash = hash_files([Path(config.data), Path(config.annotations)])
    publish_benchmark("vqa", config, rows, data_hash=data_hash, made_by=made_by)
    return rows


store("vqa_schema", VqaConfig)


@hydra.main(version_base=None, config_path="../conf", config_name="vqa")
def main(node: DictConfig) -> None:
    """Run the configured evaluation."""
    run(to_object(node, VqaConfig))


if __name__ == "__main__":
    main()
