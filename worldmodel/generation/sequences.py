"""Sequences: documents of different lengths in one cache, that grow by tokens and frames."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldmodel.branching import Branching, Context, FrameAfter, FrameSampling, Past
from worldmodel.generation.prefix import Piece, prefix_rows
from worldmodel.tokenizer import TokenizedText


class Sequences:
    """Documents that go on, each its own: one of a batch gets what it would get alone.

    The given pieces are encoded once, when the object is made. What is without the condition, for guidance,
    is a view of the same cache: that which ends with the last frame, or with <bos> if there is none, so that
    the text since then is missing, as in training.
    """

    def __init__(
        self, branching: Branching, documents: Sequence[Sequence[Piece]], *, latents_per_frame: int
    ) -> None:
        self._branching = branching
        self.frame_shape = (len(documents), latents_per_frame, branching.transfusion.latent_channels)
        columns, lengths = prefix_rows(documents, branching.tokenizer, latents_per_frame=latents_per_frame)
        frames = [piece for document in documents for piece in document if isinstance(piece, Tensor)]
        empty = torch.zeros(0, latents_per_frame, branching.transfusion.latent_channels)
        context, hidden = branching.encode(columns, torch.stack(frames) if frames else empty)
        length = torch.tensor(lengths)
        index = torch.arange(columns["ids"].shape[1])
        row = torch.arange(len(lengths))
        self.context: Context = replace(context, is_valid=index < length[:, None])
        position = columns["positions"][row, length - 1, 0] + 1
        self.past = Past.none_at(self.context, position[:, None])
        self.hidden: Float[Tensor, "sequence width"] = hidden[row, length - 1]
        # The last latent is followed by </image>; without frames there is <bos>.
        last_latent = torch.where(columns["is_image"], index, -1).amax(dim=1)
        free_length = torch.where(last_latent >= 0, last_latent + 2, 1)
        self._free_context_valid = index < free_length[:, None]
        self._free_past_valid = self.past.is_valid
        self._free_position = columns["positions"][row, free_length - 1, 0][:, None] + 1

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.hidden)

    @property
    def num_cached(self) -> int:
        """Numbers that the keys and values of all sequences hold."""
        tensors = (*self.context.keys, *self.context.values, *self.past.keys, *self.past.values)
        return sum(tensor.numel() for tensor in tensors)

    def logits(self) -> Float[Tensor, "sequence vocabulary"]:
        """Score the token that comes next in each sequence."""
        return self._branching.transfusion.text_logits(self.hidden)

    def write(self, tokens: TokenizedText, active: Bool[Tensor, " sequence"]) -> None:
        """Append one token to each active sequence."""
        ids = torch.from_numpy(tokens.ids)[:, None, None]  # sequence candidate token
        inputs = replace(
            self._branching.token_inputs(ids, self.past.position[..., None]),
            places=torch.from_numpy(tokens.places)[:, None, None],
            values=torch.from_numpy(tokens.values)[:, None, None],
            is_value=torch.from_numpy(tokens.is_value)[:, None, None],
        )
        is_valid = active[:, None, None]
        hidden, kept = self._branching.read(self.context, self.past, inputs, is_valid)
        position = self.past.position + active[:, None]
        self._grow(self.past.extended(kept, is_valid, position), hidden[:, 0, 0], active)

    def imagine(
        self,
        noise: Float[Tensor, "sequence token channel"],
        sampling: FrameSampling,
        active: Bool[Tensor, " sequence"],
    ) -> Float[Tensor, "sequence token channel"]:
        """Open an image in each active sequence, and return the latents sampled for it.

        Of the others, what comes back means nothing.
        """
        free_context = replace(self.context, is_valid=self._free_context_valid)
        free_past = replace(self.past, is_valid=self._free_past_valid, position=self._free_position)
        conditional, free = (
            FrameAfter(self._branching, context, past, self._branching.marker_inputs(past.position))
            for context, past in ((self.context, self.past), (free_context, free_past))
        )
        latents = self._branching.sample_frame((conditional, free), noise[:, None], sampling)
        self._grow(conditional.past, self.hidden, active)
        return latents[:, 0]

    def append_frame(
        self,
        latents: Float[Tensor, "sequence token channel"],
        active: Bool[Tensor, " sequence"],
        *,
        time: float,
    ) -> None:
        """Close the image of each active sequence with a finished frame, clean or noised to `time`."""
        past, hidden = self._branching.append_frame(self.context, self.past, latents[:, None], time=time)
        self._grow(past, hidden[:, 0], active)
        chosen = active[:, None]
        self._free_context_valid = torch.where(chosen, self._context_valid, self._free_context_valid)
        self._free_past_valid = torch.where(chosen[..., None], self.past.is_valid, self._free_past_valid)
        self._free_position = torch.where(chosen, self.past.position, self._free_position)

    def nats(self, texts: Sequence[Sequence[str]]) -> Float[Tensor, "sequence candidate"]:
        """Return how unlikely each text and the end behind it are after a given document, as float32 nats.

        The candidates of a sequence share its document, which is neither copied nor read again. ValueError
        unless every sequence has equally many, at least one.
        """
        assert self.past.is_valid.shape[2] == 0, "texts are scored after given pieces alone"
        counts = {len(own) for own in texts}
        if len(texts) != len(self) or len(counts) != 1 or 0 in counts:
            raise ValueError(
                f"needed equally many texts, at least one, for each of {len(self)} sequences; got "
                f"{[len(own) for own in texts]}"
            )
        tokenizer = self._branching.tokenizer
        tokenized = tokenizer.encode_many([text for own in texts for text in own])
        shape = (len(self), counts.pop())
        lengths = torch.tensor([len(tokens) for tokens in tokenized])
        columns = _right_padded(tokenized, pad=tokenizer.pad)
        ids, places, values, is_value = (column.view(*shape, -1) for column in columns)
        index = torch.arange(ids.shape[2])
        lengths = lengths.view(*shape, 1)
        position = self.past.position.expand(shape)
        inputs = replace(
            self._branching.token_inputs(ids, position[..., None] + index),
            places=places,
            values=values,
            is_value=is_value,
        )
        past = Past.none_at(self.context, position)
        hidden, _ = self._branching.read(self.context, past, inputs, index < lengths)
        first = self.hidden[:, None, None].expand(
            *shape, 1, -1
        )  # predicts the first token of every candidate
        hidden = torch.cat((first, hidden), dim=2)
        following = F.pad(ids, (0, 1)).scatter(2, lengths, tokenizer.end)
        is_scored = torch.arange(following.shape[2]) <= lengths
        nats = torch.zeros(following.shape)
        nats[is_scored] = F.cross_entropy(
            self._branching.transfusion.text_logits(hidden[is_scored]), following[is_scored], reduction="none"
        )
        return nats.sum(dim=2)

    @property
    def _context_valid(self) -> Bool[Tensor, "sequence context"]:
        assert self.context.is_valid is not None
        return self.context.is_valid

    def _grow(
        self,
        past: Past,
        hidden: Float[Tensor, "sequence width"],
        active: Bool[Tensor, " sequence"],
    ) -> None:
        """Take over what was appended, in the active sequences; in the others it is padding."""
        num_before = self.past.is_valid.shape[2]
        added = past.is_valid[:, :, num_before:] & active[:, None, None]
        self.past = replace(
            past,
            is_valid=torch.cat((self.past.is_valid, added), dim=2),
            position=torch.where(active[:, None], past.position, self.past.position),
        )
        self.hidden = torch.where(active[:, None], hidden, self.hidden)
        self._free_past_valid = F.pad(self._free_past_valid, (0, added.shape[2]))


def _right_padded(
    tokenized: Sequence[TokenizedText], *, pad: int
) -> tuple[
    Int[Tensor, "text token"],
    Int[Tensor, "text token"],
    Float[Tensor, "text token"],
    Bool[Tensor, "text token"],
]:
    longest = max(1, *(len(tokens) for tokens in tokenized))
    ids = torch.full((len(tokenized), longest), pad)
    places = torch.zeros(ids.shape, dtype=torch.long)
    values = torch.zeros(ids.shape)
    is_value = torch.zeros(ids.shape, dtype=torch.bool)
    for row, tokens in enumerate(tokenized):
        ids[row, : len(tokens)] = torch.from_numpy(tokens.ids)
        places[row, : len(tokens)] = torch.from_numpy(tokens.places)
        values[row, : len(tokens)] = torch.from_numpy(tokens.values)
        is_value[row, : len(tokens)] = torch.from_numpy(tokens.is_value)
    return ids, places, values, is_value
