"""Document: an ordered list of text and image segments, the thing that the model reads.

A document is a context followed by branches. A branch sees the context and the branches it grows from, never
a sibling. A document holds no pixels and no tokens: an image is a key into a list of trajectories.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What a document teaches."""

    forward = "forward"
    """Context frames, then branches of action text and the frame it leads to."""
    inverse = "inverse"
    """Context frames, a goal frame, then the action text that leads there."""
    instructed = "instructed"
    """Context frames, a command in plain language, then action text and frame."""
    caption = "caption"
    """A frame and its caption, in either order."""
    question = "question"
    """A frame, a question about it, its answer."""
    video = "video"
    """Frames at an even stride, without text."""
    text = "text"
    """Plain text."""


class FrameKey(NamedTuple):
    """Where a frame is: an index into the list of trajectories and the index of the frame within that one."""

    trajectory: int
    frame: int


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text.

    `weight` scales the language loss of its tokens; 0 means that the text is given, not to be predicted.
    """

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Image:
    """A frame. A target carries flow loss; a frame that is no target is only looked at."""

    frame: FrameKey
    is_target: bool


Segment = Text | Image


@dataclass(frozen=True, slots=True)
class Branch:
    """One continuation of what comes before it, and the continuations that grow from its own end."""

    segments: tuple[Segment, ...]
    branches: tuple["Branch", ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A context that all branches share, and the branches."""

    kind: Kind
    context: tuple[Segment, ...]
    branches: tuple[Branch, ...] = ()


def segments_of(document: Document) -> Iterator[Segment]:
    """Yield every segment once: the context, then each branch before the branches that grow from it."""
    yield from document.context
    stack = list(reversed(document.branches))
    while stack:
        branch = stack.pop()
        yield from branch.segments
        stack.extend(reversed(branch.branches))


def frames_of(document: Document) -> list[FrameKey]:
    """Return the key of every image, in the order of `segments_of`."""
    return [segment.frame for segment in segments_of(document) if isinstance(segment, Image)]


def texts_of(document: Document) -> list[Text]:
    """Return every piece of text, in the order of `segments_of`."""
    return [segment for segment in segments_of(document) if isinstance(segment, Text)]
