"""Documents of pictures and language: caption, question, plain video, plain text."""

from collections.abc import Sequence

import numpy as np

from data_tools.document_config import DocumentConfig
from data_tools.documents import Document, FrameKey, Image, Kind, Text
from data_tools.trajectory import FrameText, TextKind, Trajectory


class CaptionBuilder:
    """A frame and its caption, or a caption and its frame, equally often.

    The second is what is learned: the caption of a given frame, the frame of a given caption. A share of the
    frames to learn lose their caption, for guidance.
    """

    def __init__(self, trajectories: Sequence[Trajectory], config: DocumentConfig, *, held_out: bool) -> None:
        self._dropout = config.condition_dropout
        self._texts = _texts_of(trajectories, TextKind.caption, held_out=held_out)

    def build(self, *, rng: np.random.Generator) -> Document:
        """Make one document."""
        frame, text = self._texts[int(rng.integers(len(self._texts)))]
        is_frame_first, is_dropped = rng.random() < 0.5, rng.random() < self._dropout
        if is_frame_first:
            return Document(Kind.caption, (Image(frame, is_target=False), Text(text.text, 1.0)))
        image = Image(frame, is_target=True)
        return Document(Kind.caption, (image,) if is_dropped else (Text(text.text, 0.0), image))


class QuestionBuilder:
    """A frame, a question about it (given), and its answer."""

    def __init__(self, trajectories: Sequence[Trajectory], config: DocumentConfig, *, held_out: bool) -> None:
        self._texts = _texts_of(trajectories, TextKind.question, held_out=held_out)

    def build(self, *, rng: np.random.Generator) -> Document:
        """Make one document."""
        frame, text = self._texts[int(rng.integers(len(self._texts)))]
        assert text.answer is not None
        return Document(
            Kind.question, (Image(frame, is_target=False), Text(text.text, 0.0), Text(text.answer, 1.0))
        )


class VideoBuilder:
    """Frames at an even stride, each learned from those before it; trajectories without poses count too."""

    def __init__(self, trajectories: Sequence[Trajectory], config: DocumentConfig) -> None:
        self._config = config
        self._lengths = np.array([trajectory.num_frames for trajectory in trajectories], dtype=np.int64)
        self._ends = np.cumsum(np.where(self._lengths >= 2, self._lengths, 0))
        if len(self._ends) == 0 or self._ends[-1] == 0:
            raise ValueError(f"none of {len(trajectories)} trajectories has two frames; name other data")

    def build(self, *, rng: np.random.Generator) -> Document:
        """Make one document: up to `max_video_frames` frames, fewer where the trajectory is short."""
        trajectory = int(np.searchsorted(self._ends, rng.integers(self._ends[-1]), side="right"))
        length = int(self._lengths[trajectory])
        strides = self._config.video_strides
        stride = min(strides[int(rng.integers(len(strides)))], length - 1)
        num_frames = min(self._config.max_video_frames, (length - 1) // stride + 1)
        first = int(rng.integers(length - (num_frames - 1) * stride))
        frames = range(first, first + num_frames * stride, stride)
        images = (Image(FrameKey(trajectory, frame), is_target=True) for frame in frames)
        return Document(Kind.video, tuple(images))


class TextBuilder:
    """A piece of plain text that begins and ends between words; every part of the corpus is as likely."""

    def __init__(self, texts: Sequence[str], config: DocumentConfig) -> None:
        self._texts = [text for text in texts if text.strip()]
        if not self._texts:
            raise ValueError("plain text documents need text; give some, or give them no weight")
        self._max_characters = config.max_characters
        self._ends = np.cumsum([len(text) for text in self._texts], dtype=np.int64)

    def build(self, *, rng: np.random.Generator) -> Document:
        """Make one document of at most `max_characters` characters."""
        number = int(rng.integers(self._ends[-1]))
        index = int(np.searchsorted(self._ends, number, side="right"))
        text = self._texts[index]
        start = number - (int(self._ends[index - 1]) if index else 0)
        # So near to the end of its text the piece would be short: take the last full one.
        start = max(min(start, len(text) - self._max_characters), 0)
        return Document(Kind.text, (Text(cut_between_words(text, start, self._max_characters), 1.0),))


def cut_between_words(text: str, start: int, max_characters: int) -> str:
    """Cut at most `max_characters` from about `start` on, at white space; within a word if it has none."""
    end = start + max_characters
    if start > 0 and not text[start - 1].isspace():
        while start < end and not text[start].isspace():
            start += 1
    piece = text[start:end]
    if end < len(text) and not text[end].isspace():
        kept = len(piece)
        while kept > 0 and not piece[kept - 1].isspace():
            kept -= 1
        piece = piece[:kept]
    return piece.strip() or text[end - max_characters : end]


def _texts_of(
    trajectories: Sequence[Trajectory], kind: TextKind, *, held_out: bool
) -> list[tuple[FrameKey, FrameText]]:
    found = [
        (FrameKey(index, text.frame), text)
        for index, trajectory in enumerate(trajectories)
        for text in trajectory.texts
        if text.kind is kind and text.held_out == held_out
    ]
    if not found:
        raise ValueError(
            f"none of {len(trajectories)} trajectories has a {kind.value} with held_out={held_out}; "
            f"record some, or give {kind.value} documents no weight"
        )
    return found
