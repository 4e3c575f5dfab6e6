r"""QuestionSet: pictures, questions and answers of a folder, in the form of LLaVA and Cambrian or in ours.

A `.json` file holds a list of conversations, a `.jsonl` file one a line: {"image": path below the folder,
"conversations": [{"from": "human", "value": "<image>\nQuestion"}, {"from": "gpt", "value": "Answer"}, ...]},
without `image` for a conversation about none; or simply {"image", "question", "answer"}. A folder of
recordings gives the questions that lie beside their frames.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_tools.documents import Document, FrameKey, Image, Kind, Text
from data_tools.frames import FrameFiles
from data_tools.trajectory import TextKind, Trajectory
from worldmodel.recordings import open_recordings

IMAGE_MARK = "<image>"
_HUMAN, _MODEL = ("human", "user"), ("gpt", "assistant")


@dataclass(frozen=True)
class Example:
    """One picture, or none, and what is asked and answered about it in turn."""

    picture: Path | None
    turns: tuple[tuple[str, str], ...]

    def document(self, frame: FrameKey | None) -> Document:
        """Return the document to learn from: answers alone have weight."""
        texts = (
            segment for question, answer in self.turns for segment in (Text(question, 0.0), Text(answer, 1.0))
        )
        images = () if frame is None else (Image(frame, is_target=False),)
        return Document(Kind.question, (*images, *texts))


@dataclass(frozen=True)
class QuestionSet:
    """All examples of a folder as documents, and where their pictures are.

    `FrameKey(i, k)` is frame k of `trajectories[i]`; a picture in a file of its own is a recording of one
    frame.
    """

    documents: tuple[Document, ...]
    trajectories: tuple[Trajectory, ...]
    identity: str
    """Hash of texts, and of the paths and sizes of pictures."""


def read_question_set(folder: Path) -> QuestionSet:
    """Read a folder; ValueError for a broken file, FileNotFoundError for missing pictures."""
    files = sorted([*folder.glob("*.json"), *folder.glob("*.jsonl")])
    files = [path for path in files if path.name != "config.json"]  # of a folder of recordings
    if any(folder.glob("*/info.json")):
        return _of_recordings(folder)
    examples = [example for path in files for example in read_examples(path, folder)]
    if not examples:
        raise FileNotFoundError(
            f"{folder} holds no examples; it needs .json or .jsonl files of conversations, or "
            "recordings with questions"
        )
    pictures = list(dict.fromkeys(each.picture for each in examples if each.picture is not None))
    missing = [path for path in pictures if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} of {len(pictures)} pictures are missing: {missing[0]}")
    number = {path: index for index, path in enumerate(pictures)}
    documents = tuple(
        each.document(None if each.picture is None else FrameKey(number[each.picture], 0))
        for each in examples
    )
    trajectories = tuple(_single(path, index) for index, path in enumerate(pictures))
    sizes = [f"{path.relative_to(folder)} {path.stat().st_size}" for path in pictures]
    return QuestionSet(documents, trajectories, _hash([*map(repr, documents), *sizes]))


def read_examples(path: Path, folder: Path) -> Iterator[Example]:
    """Yield the examples of one file; `folder` is where the paths of pictures begin."""
    try:
        text = path.read_text(encoding="utf-8")
        is_lines = path.suffix == ".jsonl"
        entries = (
            # Not splitlines: it cuts at U+2028 and U+0085 too, which may stand in a JSON string.
            [json.loads(line) for line in text.split("\n") if line.strip()] if is_lines else json.loads(text)
        )
        if not isinstance(entries, list):
            raise TypeError(f"it is no list but {type(entries).__name__}")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a JSON list or JSON lines of examples: {error}") from error
    for index, entry in enumerate(entries):
        try:
            yield _example(entry, folder)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path}, example {index}: needed image, and conversations (from, value) or question and "
                f"answer: {error!r}"
            ) from error


def _example(entry: dict, folder: Path) -> Example:
    named = entry.get("image")
    picture = None if named is None else folder / named
    if "conversations" not in entry:
        return Example(picture, ((_plain(entry["question"]), _plain(entry["answer"])),))
    turns = entry["conversations"]
    if len(turns) % 2 or not turns:
        raise ValueError(f"needed pairs of a question and an answer, got {len(turns)} turns")
    pairs = []
    for asked, answered in zip(turns[::2], turns[1::2], strict=True):
        if asked["from"] not in _HUMAN or answered["from"] not in _MODEL:
            raise ValueError(f"needed human and gpt in turn, got {asked['from']} and {answered['from']}")
        pairs.append((_plain(asked["value"].replace(IMAGE_MARK, "")), _plain(answered["value"])))
    return Example(picture, tuple(pairs))


def _plain(text: str) -> str:
    if not text.strip():
        raise ValueError("a question or an answer is empty")
    return text.strip()


def _single(path: Path, index: int) -> Trajectory:
    return Trajectory(
        name=f"picture {index}",
        place=path.parent.name,
        frames=FrameFiles((path,)),
        poses=None,
        times_s=np.zeros(1),
    )


def _of_recordings(folder: Path) -> QuestionSet:
    trajectories = open_recordings([str(folder)])
    documents = tuple(
        Example(None, ((text.text, text.answer or ""),)).document(FrameKey(index, text.frame))
        for index, trajectory in enumerate(trajectories)
        for text in trajectory.texts
        if text.kind is TextKind.question and not text.held_out
    )
    if not documents:
        raise FileNotFoundError(f"none of {len(trajectories)} recordings in {folder} has a question")
    names = [f"{trajectory.name} {trajectory.num_frames}" for trajectory in trajectories]
    return QuestionSet(documents, tuple(trajectories), _hash([*map(repr, documents), *names]))


def _hash(texts: list[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{len(text)} {text}".encode())
    return digest.hexdigest()[:16]
