"""Generate: `python -m worldmodel.generate checkpoint=nano task=draw texts=['a corridor'] out=drawn`.

Reads image files and texts, and writes `generation.json`, with a PNG for each frame that was drawn. Tasks:

- `caption`: describe each image.
- `question`: answer texts[i] about images[i]; with `answers`, say how unlikely each of them is instead.
- `draw`: draw a frame for each text.
- `edit`: what becomes of images[i] by texts[i], a command or an action's text.
- `interleave`: go on with one document (all images, then all texts) in text and frames, until it ends.
"""

import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import hydra
import numpy as np
import torch
from jaxtyping import UInt8
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from data_tools.config import store, to_dict, to_object
from data_tools.frames import read_frame
from data_tools.whole_file import write_text
from worldmodel.generation import GenerationConfig, Generator
from worldmodel.generation.generator import DocumentPiece
from worldmodel.model_folder import load_model


class Task(Enum):
    """What to generate."""

    caption = "caption"
    question = "question"
    draw = "draw"
    edit = "edit"
    interleave = "interleave"


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """One call of the command."""

    task: Task
    checkpoint: str = "nano"
    images: list[str] = field(default_factory=list)
    """JPEG or PNG files of any size."""
    texts: list[str] = field(default_factory=list)
    """Captions to draw, questions, instructions, or how a document begins."""
    answers: list[str] = field(default_factory=list)
    """Answers to choose from, the same for every question; none to write one."""
    writes_action: bool = False
    """Whether an edit by a command writes the action that it means first, as documents of training do."""
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    out: str = "generated"

    def __post_init__(self) -> None:
        num_images, num_texts = len(self.images), len(self.texts)
        fits = {
            Task.caption: num_images > 0 and num_texts == 0,
            Task.question: num_images == num_texts > 0,
            Task.draw: num_images == 0 and num_texts > 0,
            Task.edit: num_images == num_texts > 0,
            Task.interleave: True,
        }
        if not fits[self.task]:
            raise ValueError(
                f"task={self.task.value} got {num_images} images and {num_texts} texts; caption needs images "
                "alone, draw texts alone, question and edit one text an image"
            )
        if self.answers and self.task is not Task.question:
            raise ValueError(f"answers are for task=question, got task={self.task.value}")


def generate(config: GenerateConfig) -> list[dict[str, object]]:
    """Generate, write the pictures, and return what goes into `generation.json`, one entry a result."""
    generator = Generator(load_model(config.checkpoint), config.generation)
    frames = [torch.from_numpy(read_frame(Path(path))) for path in config.images]
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    match config.task:
        case Task.caption:
            texts = generator.caption(_one_size(frames))
            return [{"image": i, "caption": text} for i, text in zip(config.images, texts, strict=True)]
        case Task.question:
            return _answered(generator, frames, config)
        case Task.draw:
            drawn = generator.draw(config.texts)
            return [
                {"text": text, "picture": _write_picture(frame, folder / f"{number:02}.png")}
                for number, (text, frame) in enumerate(zip(config.texts, drawn, strict=True))
            ]
        case Task.edit:
            edited = generator.edit(_one_size(frames), config.texts, writes_action=config.writes_action)
            return [
                {
                    "image": i,
                    "instruction": text,
                    "picture": _write_picture(frame, folder / f"{number:02}.png"),
                }
                for number, (i, text, frame) in enumerate(
                    zip(config.images, config.texts, edited, strict=True)
                )
            ]
        case Task.interleave:
            (pieces,) = generator.continue_document([[*frames, *config.texts]])
            return [_written_piece(piece, folder, number) for number, piece in enumerate(pieces)]


def _answered(generator: Generator, frames: list[Tensor], config: GenerateConfig) -> list[dict[str, object]]:
    stacked = _one_size(frames)
    asked = [
        {"image": image, "question": text} for image, text in zip(config.images, config.texts, strict=True)
    ]
    if not config.answers:
        written = generator.answer(stacked, config.texts)
        return [{**each, "answer": answer} for each, answer in zip(asked, written, strict=True)]
    nats = generator.answer_nats(stacked, config.texts, [config.answers] * len(frames))
    return [
        {
            **each,
            "answer": config.answers[int(own.argmin())],
            "nats": dict(zip(config.answers, own.tolist(), strict=True)),
        }
        for each, own in zip(asked, nats, strict=True)
    ]


def _written_piece(piece: DocumentPiece, folder: Path, number: int) -> dict[str, object]:
    if isinstance(piece, str):
        return {"text": piece}
    return {"picture": _write_picture(piece, folder / f"{number:02}.png")}


def _one_size(frames: list[Tensor]) -> UInt8[Tensor, "batch height width 3"]:
    """Stack images; ValueError if they differ in size."""
    sizes = {tuple(frame.shape[:2]) for frame in frames}
    if len(sizes) != 1:
        raise ValueError(
            f"needed images of one size, got {sorted(sizes)} (height, width); scale them, or call one by one"
        )
    return torch.stack(frames)


def _write_picture(frame: UInt8[Tensor, "height width 3"], path: Path) -> str:
    Image.fromarray(np.ascontiguousarray(frame.numpy())).save(path)
    return path.name


store("generate_schema", GenerateConfig)


@hydra.main(version_base=None, config_path="conf", config_name="generate")
def main(node: DictConfig) -> None:
    """Generate and print what was written."""
    config = to_object(node, GenerateConfig)
    content = {"results": generate(config), "config": to_dict(config)}
    write_text(Path(config.out) / "generation.json", json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["results"], indent=1))


if __name__ == "__main__":
    main()
