"""Models that know scenes by heart, or nothing, and small files in the form of benchmarks."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from worldmodel.evaluation.scenes import COLOURS, SHAPES, Scene, Thing, draw_scene, read_scene


class Seer:
    """Reads scenes off pictures, and answers and draws what is right."""

    size = 48

    def draw(self, texts: Sequence[str], *, names: Sequence[str]) -> torch.Tensor:
        return torch.from_numpy(np.stack([draw_scene(parse(text), size=self.size) for text in texts]))

    def caption(self, frames: torch.Tensor) -> list[str]:
        return [read_scene(frame.numpy()).caption for frame in frames]

    def answer(self, frames: torch.Tensor, questions: Sequence[str]) -> list[str]:
        return [answer(read_scene(f.numpy()), q) for f, q in zip(frames, questions, strict=True)]

    def answer_nats(
        self, frames: torch.Tensor, questions: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        right = self.answer(frames, questions)
        return [
            [0.5 if each == own else 2.0 for each in all_] for own, all_ in zip(right, answers, strict=True)
        ]


class Mute:
    """Draws grey, and says the same of everything."""

    def draw(self, texts: Sequence[str], *, names: Sequence[str]) -> torch.Tensor:
        return torch.full((len(texts), 24, 24, 3), 128, dtype=torch.uint8)

    def caption(self, frames: torch.Tensor) -> list[str]:
        return ["nothing"] * len(frames)

    def answer(self, frames: torch.Tensor, questions: Sequence[str]) -> list[str]:
        return ["yes"] * len(questions)

    def answer_nats(
        self, frames: torch.Tensor, questions: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        return [[float(len(each)) for each in own] for own in answers]


def parse(caption: str) -> Scene:
    """Return the scene of a caption."""
    places = {Thing(row, column, "", "").place: (row, column) for row in range(3) for column in range(3)}
    things = []
    for part in caption.rstrip(".").split(", "):
        what, place = part.removeprefix("a ").split(" at the ")
        colour, shape = what.split()
        assert colour in COLOURS and shape in SHAPES
        things.append(Thing(*places[place], colour, shape))
    return Scene(tuple(sorted(things)))


def answer(scene: Scene, question: str) -> str:
    """Answer from a scene, written apart from the maker of questions."""
    names = ("zero", "one", "two", "three", "four")
    words = question.rstrip("?").split()
    if question.startswith("how many"):
        return names[len(scene.things)]
    if question.startswith("is there"):
        return "yes" if any(thing.colour == words[-1] for thing in scene.things) else "no"
    if question.startswith("where"):
        wanted = (words[-2], words[-1])
        places = [f"the {each.place}" for each in scene.things if (each.colour, each.shape) == wanted]
        return places[0] if places else "nowhere"
    place = question.rstrip("?").split(" the ")[-1]
    thing = [each for each in scene.things if each.place == place]
    if not thing:
        return "nothing"
    return thing[0].colour if question.startswith("what colour") else thing[0].shape


def judge_program(folder: Path, body: str) -> list[str]:
    """Write a judge whose `judge(request)` has this body, and return its command."""
    path = folder / "judge.py"
    path.write_text(
        "import json, sys\n"
        f"def judge(request):\n    {body}\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    print(json.dumps({'id': request['id'], **judge(request)}), flush=True)\n"
    )
    return [sys.executable, str(path)]


def write_pictures(paths: Sequence[Path], *, size: int = 12) -> None:
    """Write pictures of random pixels."""
    rng = np.random.default_rng(0)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)


def write_json(path: Path, content: object) -> Path:
    """Write a JSON file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
