"""Generator: what a trained model can write and draw: captions, answers, pictures, edits, whole documents.

Documents are laid out as in training (data_tools/media_documents.py, action_documents.py): a frame and its
caption, a caption and its frame, a frame with a question and its answer, frames with a command.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from data_tools.action_text import parse_actions
from data_tools.randomness import generator_for
from worldmodel.branching import FrameSampling, check_history_noise
from worldmodel.generation.interleaving import Continuation, Writer
from worldmodel.generation.prefix import Piece
from worldmodel.generation.sequences import Sequences
from worldmodel.generation.token_choice import TextSampling
from worldmodel.number_tokens import NumberReader
from worldmodel.predictor import ACTION_PREFIX, WorldModel

DocumentPiece = str | UInt8[Tensor, "height width 3"]
"""A text or a frame of a document that goes on."""


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How text is written and frames are drawn.

    Frames are drawn as in arXiv 2603.03276: 25 steps of Euler, guidance of scale 3.0.
    """

    frame: FrameSampling = field(default_factory=FrameSampling)
    text: TextSampling = field(default_factory=TextSampling)
    max_frames: int = 4
    """Most frames that a document goes on for."""
    history_noise: float = 0.0
    """How much noise drawn frames come into the history with, against drift (arXiv 2407.01392)."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_history_noise(self.history_noise)
        if self.max_frames < 0:
            raise ValueError(f"max_frames must not be negative, got {self.max_frames}")


class Generator:
    """Generates with a world model; its random stream goes on from call to call.

    All methods work on batches whose members may differ in length; each member gets what it would get alone,
    if nothing is drawn. Pictures with names begin from noise of their own, whatever was drawn before.
    """

    def __init__(self, model: WorldModel, config: GenerationConfig | None = None) -> None:
        self.model = model
        self.config = GenerationConfig() if config is None else config
        self._generator = generator_for(self.config.seed, "noise")

    @torch.inference_mode()
    def caption(self, frames: UInt8[Tensor, "batch height width 3"]) -> list[str]:
        """Describe frames."""
        return self._write(_documents(self.model.looked_at(frames)))

    @torch.inference_mode()
    def answer(self, frames: UInt8[Tensor, "batch height width 3"], questions: Sequence[str]) -> list[str]:
        """Answer a question about each frame."""
        return self._write(_documents(self.model.looked_at(frames), questions))

    @torch.inference_mode()
    def answer_nats(
        self,
        frames: UInt8[Tensor, "batch height width 3"],
        questions: Sequence[str],
        answers: Sequence[Sequence[str]],
    ) -> Float[Tensor, "batch answer"]:
        """Return how unlikely each answer to the question about a frame is, its end included [nats]."""
        return self._sequences(_documents(self.model.looked_at(frames), questions)).nats(answers)

    @torch.inference_mode()
    def caption_nats(
        self, latents: Float[Tensor, "batch token channel"], texts: Sequence[str]
    ) -> Float[Tensor, " batch"]:
        """Return how unlikely a caption of each frame is, its end included [nats].

        What a goal in words is scored by: the frames may be imagined ones.
        """
        sequences = self._sequences(_documents(latents))
        _check_texts(texts, len(sequences))
        return sequences.nats([[text] for text in texts])[:, 0]

    @torch.inference_mode()
    def draw(
        self, texts: Sequence[str], *, names: Sequence[str] | None = None
    ) -> UInt8[Tensor, "batch size size 3"]:
        """Draw a frame for each caption: see `draw_latents`."""
        return self.model.decode(self.draw_latents(texts, names=names))

    @torch.inference_mode()
    def draw_latents(
        self, texts: Sequence[str], *, names: Sequence[str] | None = None
    ) -> Float[Tensor, "batch token channel"]:
        """Draw a frame for each caption, and leave it in latents.

        With names, one a caption, the noise of each is a function of the seed and its name alone; without,
        the next of the stream.
        """
        if not texts:
            raise ValueError("needed at least one text to draw, got none")
        sequences = self._sequences([[text] for text in texts])
        if names is None:
            return self._imagine(sequences)
        if len(names) != len(texts):
            raise ValueError(f"needed a name for each of {len(texts)} texts, got {len(names)}")
        streams = [generator_for(self.config.seed, f"noise/{name}") for name in names]
        noise = torch.stack([torch.randn(sequences.frame_shape[1:], generator=each) for each in streams])
        return sequences.imagine(noise, self.config.frame, torch.ones(len(sequences), dtype=torch.bool))

    @torch.inference_mode()
    def edit(
        self,
        frames: UInt8[Tensor, "batch height width 3"],
        instructions: Sequence[str],
        *,
        writes_action: bool = False,
    ) -> UInt8[Tensor, "batch size size 3"]:
        """Return what becomes of each frame by an instruction: see `edit_latents`."""
        return self.model.decode(self.edit_latents(frames, instructions, writes_action=writes_action))

    @torch.inference_mode()
    def edit_latents(
        self,
        frames: UInt8[Tensor, "batch height width 3"],
        instructions: Sequence[str],
        *,
        writes_action: bool = False,
    ) -> Float[Tensor, "batch token channel"]:
        """Return what becomes of each frame by an instruction, in latents.

        An instruction is an action's text or a command in plain language, and the frame follows it: one step
        of `WorldModel.rollout` after one frame. In documents of training a command is followed by the text of
        the action that it means; with `writes_action` the model writes that first. ValueError for a text that
        begins as an action and is none.
        """
        parse_actions([text for text in instructions if text.startswith(ACTION_PREFIX)])
        sequences = self._sequences(_documents(self.model.looked_at(frames), instructions))
        if writes_action:
            everywhere = torch.ones(len(sequences), dtype=torch.bool)
            self._writer(sequences).write(_new_readers(sequences), everywhere, with_images=True)
        return self._imagine(sequences)

    @torch.inference_mode()
    def continue_document(self, documents: Sequence[Sequence[DocumentPiece]]) -> list[list[DocumentPiece]]:
        """Return the texts and frames that follow each document, until it ends or meets a limit.

        A document that ends with a text goes on within it; what follows a frame is a text of its own. None
        at all is the beginning of a document.
        """
        return [self._decoded(each) for each in self.continue_pieces(self._encoded(documents))]

    @torch.inference_mode()
    def continue_pieces(self, documents: Sequence[Sequence[Piece]]) -> list[Continuation]:
        """Return what follows each document, its frames as latents."""
        sequences = self._sequences(documents)
        readers = [self._reader_after(document) for document in documents]
        return self._writer(sequences).interleave(
            readers, max_frames=self.config.max_frames, history_noise=self.config.history_noise
        )

    def _sequences(self, documents: Sequence[Sequence[Piece]]) -> Sequences:
        if not documents:
            raise ValueError("needed at least one document, got none")
        return Sequences(
            self.model.branching, documents, latents_per_frame=self.model.representation.num_tokens
        )

    def _writer(self, sequences: Sequences) -> Writer:
        return Writer(
            sequences,
            self.model.tokenizer,
            text=self.config.text,
            frame=self.config.frame,
            generator=self._generator,
        )

    def _write(self, documents: Sequence[Sequence[Piece]]) -> list[str]:
        sequences = self._sequences(documents)
        found = self._writer(sequences).interleave(_new_readers(sequences), max_frames=0, history_noise=0.0)
        return [each.text for each in found]

    def _imagine(self, sequences: Sequences) -> Float[Tensor, "sequence token channel"]:
        return self._writer(sequences).imagine(torch.ones(len(sequences), dtype=torch.bool))

    def _reader_after(self, document: Sequence[Piece]) -> NumberReader:
        reader = NumberReader()
        if document and isinstance(document[-1], str):
            for index in self.model.tokenizer.encode(document[-1]).ids.tolist():
                self.model.tokenizer.read(index, reader)
        return reader

    def _encoded(self, documents: Sequence[Sequence[DocumentPiece]]) -> list[list[Piece]]:
        """Encode one frame at a time: those of a document may differ in size."""
        return [
            [piece if isinstance(piece, str) else self.model.looked_at(piece[None])[0] for piece in document]
            for document in documents
        ]

    def _decoded(self, continuation: Continuation) -> list[DocumentPiece]:
        return [
            piece if isinstance(piece, str) else self.model.decode(piece[None])[0]
            for piece in continuation.pieces
        ]


def _documents(
    latents: Float[Tensor, "batch token channel"], texts: Sequence[str] | None = None
) -> list[list[Piece]]:
    """Begin a document with each frame, and go on with its text, if there are any."""
    if texts is None:
        return [[frame] for frame in latents]
    _check_texts(texts, len(latents))
    return [[frame, text] for frame, text in zip(latents, texts, strict=True)]


def _check_texts(texts: Sequence[str], num_frames: int) -> None:
    if isinstance(texts, str) or len(texts) != num_frames:
        raise ValueError(f"needed a list of {num_frames} texts, one a frame; got {texts!r:.200}")


def _new_readers(sequences: Sequences) -> list[NumberReader]:
    return [NumberReader() for _ in range(len(sequences))]
