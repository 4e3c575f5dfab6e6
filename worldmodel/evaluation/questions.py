"""Questions: `python -m worldmodel.evaluation.questions model=FOLDER data=FOLDER out=FOLDER`.

Captions and questions whose answers are known: those of recordings in `data`, and of `num_scenes` scenes of
coloured shapes on a grid. Answers are judged by being the same, drawn scenes by reading them back. Every
accuracy stands beside that of the most frequent answer, and of the model with the pictures exchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import hydra
import numpy as np
import torch
from jaxtyping import UInt8
from omegaconf import MISSING, DictConfig

from data_tools.config import store, to_object
from data_tools.frames import Frames
from data_tools.randomness import numpy_generator_for
from data_tools.trajectory import TextKind, Trajectory
from worldmodel.evaluation.asked import (
    Asked,
    accuracy_rows,
    batches,
    candidate_answers,
    generated_answers,
    is_right,
    likeliest_answers,
    majority_answers,
    with_other_pictures,
)
from worldmodel.evaluation.generators import Speaker, open_generator
from worldmodel.evaluation.intervals import mean_interval
from worldmodel.evaluation.protocols import Captions, Draws
from worldmodel.evaluation.results import Row, hash_texts, publish_run
from worldmodel.evaluation.scenes import Scene, ask, draw_random, draw_scene, read_scene, things_in_common
from worldmodel.precision import Precision
from worldmodel.recordings import open_recordings
from worldmodel.representation.cache import identity_of

BASELINES = {
    "generated": ("majority", "generated, other pictures"),
    "chosen": ("majority", "chosen, other pictures"),
}
"""What each way of answering is held against: what it gains from pictures is over the same way without."""


@dataclass(frozen=True, kw_only=True)
class QuestionsConfig:
    """What is asked."""

    model: str = MISSING
    out: str = MISSING
    data: str | None = None
    """Folder of recordings with captions and questions; None asks about scenes alone."""
    num_scenes: int = 0
    """Scenes of shapes: a model that never saw any is expected at the baselines."""
    scene_size: int = 64
    """Height and width of a scene's picture [pixels]."""
    max_questions: int | None = 2000
    """Questions and captions taken of the recordings, evenly spread; None takes all."""
    at_once: int = 32
    seed: int = 0
    num_threads: int = 1
    precision: Precision = Precision.float32


def recorded(trajectories: Sequence[Trajectory], kind: TextKind, *, most: int | None) -> list[Asked]:
    """Return questions of recordings, or captions as answers to no question, grouped by recording."""
    found = [
        Asked(
            picture=partial(_frame, trajectory.frames, text.frame),
            question=text.text if kind is TextKind.question else "",
            answer=text.answer or text.text,
            kind=text.text if kind is TextKind.question else "caption",
            group=trajectory.name,
        )
        for trajectory in trajectories
        for text in trajectory.texts
        if text.kind is kind
    ]
    if most is None or len(found) <= most:
        return found
    return [found[index] for index in np.linspace(0, len(found) - 1, most).round().astype(int).tolist()]


def _frame(frames: Frames, index: int) -> UInt8[np.ndarray, "height width 3"]:
    return np.asarray(frames[index])


def make_scenes(count: int, *, seed: int) -> list[Scene]:
    """Return scenes, each a function of seed and number."""
    return [draw_random(rng=numpy_generator_for(seed, "scene", rank=number)) for number in range(count)]


def of_scenes(scenes: Sequence[Scene], *, size: int, seed: int) -> list[Asked]:
    """Return all questions about scenes, grouped by scene."""
    return [
        Asked(partial(draw_scene, scene, size=size), each.question, each.answer, each.kind, str(number))
        for number, scene in enumerate(scenes)
        for each in ask(scene, rng=numpy_generator_for(seed, "scene/questions", rank=number))
    ]


def question_rows(model: Speaker, items: Sequence[Asked], *, name: str, config: QuestionsConfig) -> list[Row]:
    """Return accuracies of answers, generated and chosen, with their baselines."""
    others = with_other_pictures(items, rng=numpy_generator_for(config.seed, "exchange"))
    candidates = candidate_answers(items)
    answers = {
        "generated": generated_answers(model, items, at_once=config.at_once),
        "chosen": likeliest_answers(model, items, candidates, at_once=config.at_once),
        "majority": majority_answers(items),
        "generated, other pictures": generated_answers(model, others, at_once=config.at_once),
        "chosen, other pictures": likeliest_answers(model, others, candidates, at_once=config.at_once),
    }
    right = {method: is_right(items, said) for method, said in answers.items()}
    rng = numpy_generator_for(config.seed, f"bootstrap/{name}")
    return [
        Row(**{**vars(row), "measure": f"{name}/{row.measure}"})
        for row in accuracy_rows(items, right, baselines=BASELINES, rng=rng)
    ]


def caption_rows(model: Captions, items: Sequence[Asked], *, name: str, config: QuestionsConfig) -> list[Row]:
    """Return the share of words that captions have in common with the true one, and with those of others."""
    said = [
        caption for _, frames in batches(items, at_once=config.at_once) for caption in model.caption(frames)
    ]
    others = with_other_pictures(items, rng=numpy_generator_for(config.seed, "exchange"))
    strange = [
        caption for _, frames in batches(others, at_once=config.at_once) for caption in model.caption(frames)
    ]
    own = np.array([word_f1(a, b.answer) for a, b in zip(said, items, strict=True)])
    other = np.array([word_f1(a, b.answer) for a, b in zip(strange, items, strict=True)])
    groups, rng = [item.group for item in items], numpy_generator_for(config.seed, f"bootstrap/{name}")
    numbers = {"model": own, "other pictures": other, "model - other pictures": own - other}
    return [
        Row.of(
            f"{name}/word_f1/{method}",
            "all",
            mean_interval(values, groups, rng=rng),
            n=len(values),
            unit="captions",
            over="groups",
        )
        for method, values in numbers.items()
    ]


def word_f1(said: str, true: str) -> float:
    """Return the F1 of the words of two texts, each counted as often as it stands there."""
    words, wanted = (
        sorted(text.lower().replace(",", " ").replace(".", " ").split()) for text in (said, true)
    )
    left, shared = list(wanted), 0
    for word in words:
        if word in left:
            left.remove(word)
            shared += 1
    return 2 * shared / (len(words) + len(wanted)) if words or wanted else 1.0


def drawing_rows(model: Draws, scenes: Sequence[Scene], config: QuestionsConfig) -> list[Row]:
    """Return how many things of a caption the model draws right, and right for another caption."""
    if len(scenes) < 2:
        raise ValueError(f"needed at least two scenes to exchange captions, got {len(scenes)}")
    read: list[Scene] = []
    for first in range(0, len(scenes), config.at_once):
        part = scenes[first : first + config.at_once]
        names = [f"scene {first + number}" for number in range(len(part))]
        drawn = model.draw([scene.caption for scene in part], names=names)
        read += [read_scene(picture.numpy()) for picture in drawn]
    own = np.array([things_in_common(a, b) for a, b in zip(scenes, read, strict=True)])
    turned = [*read[1:], read[0]]
    other = np.array([things_in_common(a, b) for a, b in zip(scenes, turned, strict=True)])
    groups, rng = [str(number) for number in range(len(scenes))], numpy_generator_for(config.seed, "drawn")
    numbers = {"model": own, "other captions": other, "model - other captions": own - other}
    return [
        Row.of(
            f"scenes/drawn_things_f1/{method}",
            "all",
            mean_interval(values, groups, rng=rng),
            n=len(values),
            unit="scenes",
        )
        for method, values in numbers.items()
    ]


def evaluate(model: Speaker, config: QuestionsConfig) -> tuple[list[Row], str]:
    """Return all rows, and a hash of what was asked."""
    rows, identity = [], []
    if config.data is not None:
        trajectories = open_recordings([config.data])
        identity += [identity_of(trajectories), *(repr(trajectory.texts) for trajectory in trajectories)]
        for kind, score in ((TextKind.question, question_rows), (TextKind.caption, caption_rows)):
            items = recorded(trajectories, kind, most=config.max_questions)
            rows += score(model, items, name=f"recordings/{kind.value}", config=config) if items else []
    if config.num_scenes:
        scenes = make_scenes(config.num_scenes, seed=config.seed)
        identity += [scene.caption for scene in scenes]
        items = of_scenes(scenes, size=config.scene_size, seed=config.seed)
        rows += question_rows(model, items, name="scenes/question", config=config)
        captions = [
            Asked(partial(draw_scene, scene, size=config.scene_size), "", scene.caption, "caption", str(n))
            for n, scene in enumerate(scenes)
        ]
        rows += caption_rows(model, captions, name="scenes/caption", config=config)
        rows += drawing_rows(model, scenes, config)
    if not rows:
        raise ValueError("nothing to ask: give data=FOLDER of recordings with texts, or num_scenes")
    return rows, hash_texts(identity)


def run(config: QuestionsConfig) -> list[Row]:
    """Ask what the configuration says, and write the rows."""
    torch.set_num_threads(config.num_threads)
    model = open_generator(config.model, dtype=config.precision.dtype, seed=config.seed)
    rows, data_hash = evaluate(model, config)
    data = config.data or f"{config.num_scenes} scenes"
    publish_run("questions", config, rows, data=data, data_hash=data_hash)
    return rows


store("questions_schema", QuestionsConfig)


@hydra.main(version_base=None, config_path="../conf", config_name="questions")
def main(node: DictConfig) -> None:
    """Run the configured evaluation."""
    run(to_object(node, QuestionsConfig))


if __name__ == "__main__":
    main()
