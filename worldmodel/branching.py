"""Branching: what sequences add to a cached context: text, frames that are being sampled, finished frames.

Rows of tokens are encoded once. What follows is appended to each candidate's own keys and values: the text
before a frame is read in the first step of the sampler, later steps compute the frame alone, and a finished
frame is read once more, as clean history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from einops import repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldmodel.attend import BranchAttend, PackedAttend
from worldmodel.attention import LayerCache, hybrid_mask
from worldmodel.branch_inputs import TextInputs, join_inputs, own_mask
from worldmodel.feedforward import Modalities
from worldmodel.flattening import frame_grid
from worldmodel.flow import Prediction, Sampler, guide, interpolate, predicted_latent, sample, sample_times
from worldmodel.latent_io import as_generated
from worldmodel.tokenizer import TextTokenizer
from worldmodel.transfusion import TokenInputs, Transfusion

TEXT_COLUMNS = ("ids", "places", "values", "is_value", "is_image", "times", "positions")
"""Columns of a packed row that a transformer reads beside the latents."""


@dataclass(frozen=True, kw_only=True)
class FrameSampling:
    """How a frame is sampled.

    Source: arXiv 2603.03276 takes 25 steps of Euler and guidance of scale 3.0, which it did not tune.
    """

    num_steps: int = 25
    """Steps of the flow sampler: one is the conditional mean."""
    sampler: Sampler = Sampler.euler
    guidance: float = 3.0
    """Scale by which the condition's effect is stretched; 1 guides nowhere and takes half the work."""
    time_shift: float = 1.0
    """How far the sampler's times are shifted toward noise, at least 1; 1 leaves them even."""

    def __post_init__(self) -> None:
        sample_times(self.num_steps, shift=self.time_shift)

    @property
    def times(self) -> list[float]:
        """The times between which the sampler steps."""
        return sample_times(self.num_steps, shift=self.time_shift)


@dataclass(frozen=True)
class Context:
    """Keys and values of the context of each problem, one pair a layer, and the position that comes next.

    Where the contexts of a batch differ in length, `is_valid` says which of their tokens there are.
    """

    keys: tuple[Float[Tensor, "problem context kv_head head_dim"], ...]
    values: tuple[Float[Tensor, "problem context kv_head head_dim"], ...]
    next_position: int
    is_valid: Bool[Tensor, "problem context"] | None = None

    @property
    def num_problems(self) -> int:
        """Problems whose contexts these are."""
        return len(self.keys[0])


@dataclass(frozen=True)
class Past:
    """What each candidate has gone through since the context: its keys and values, and where it stands."""

    keys: list[Tensor]  # a layer: problem candidate past kv_head head_dim
    values: list[Tensor]
    is_valid: Bool[Tensor, "problem candidate past"]
    position: Int[Tensor, "problem candidate"]

    @classmethod
    def none(cls, context: Context, num_candidates: int) -> "Past":
        """Begin where a context ends, whose problems are equally long."""
        position = torch.full((context.num_problems, num_candidates), context.next_position)
        return cls.none_at(context, position)

    @classmethod
    def none_at(cls, context: Context, position: Int[Tensor, "problem candidate"]) -> "Past":
        """Begin at given positions."""
        shape = (*position.shape, 0, *context.keys[0].shape[2:])
        empty = [context.keys[0].new_zeros(shape) for _ in context.keys]
        return cls(empty, empty, torch.zeros(*position.shape, 0, dtype=torch.bool), position)

    def caches(self, context: Context) -> list[LayerCache]:
        """Join with the context, layer by layer."""
        return [
            LayerCache(*parts, context.is_valid)
            for parts in zip(context.keys, context.values, self.keys, self.values, strict=True)
        ]

    def extended(self, kept: Sequence[tuple[Tensor, Tensor]], valid: Tensor, position: Tensor) -> "Past":
        """Append new tokens' keys and values."""
        return Past(
            [torch.cat((old, new), dim=2) for old, (new, _) in zip(self.keys, kept, strict=True)],
            [torch.cat((old, new), dim=2) for old, (_, new) in zip(self.values, kept, strict=True)],
            torch.cat((self.is_valid, valid), dim=2),
            position,
        )


class Branching:
    """A transformer that goes on from caches; `dtype` is the precision of compute."""

    def __init__(
        self,
        transfusion: Transfusion,
        tokenizer: TextTokenizer,
        *,
        prediction: Prediction,
        dtype: torch.dtype,
    ) -> None:
        self.transfusion = transfusion
        self.tokenizer = tokenizer
        self.prediction = prediction
        self.dtype = dtype

    def encode(
        self, columns: Mapping[str, Tensor], latents: Float[Tensor, "frame token channel"]
    ) -> tuple[Context, Float[Tensor, "problem row_token width"]]:
        """Run rows of tokens, with their frames' latents in order; return their cache and hidden states.

        The position that comes next is that of rows without padding.
        """
        is_image = columns["is_image"]
        latents = as_generated(latents, channels_in=self.transfusion.channels_in)
        placed = torch.zeros(*is_image.shape, latents.shape[2])
        placed[is_image] = latents.flatten(0, 1)  # frame token -> image tokens, row by row
        inputs = TokenInputs(**{name: columns[name] for name in TEXT_COLUMNS}, latents=placed)
        attend = PackedAttend(hybrid_mask(columns["reach"], columns["frame"]), keep=True)
        hidden, _ = self.transfusion(inputs, attend, Modalities.of(inputs.is_image), dtype=self.dtype)
        keys, values = zip(*attend.kept, strict=True)
        return Context(keys, values, next_position=int(columns["positions"][0, -1, 0]) + 1), hidden

    def read(
        self,
        context: Context,
        past: Past,
        inputs: TokenInputs,
        is_valid: Bool[Tensor, "problem candidate token"],
    ) -> tuple[Float[Tensor, "problem candidate token width"], list[tuple[Tensor, Tensor]]]:
        """Run text alone after the past; return its hidden states, and its keys and values by layer."""
        mask = own_mask(past.is_valid, is_valid, num_text=is_valid.shape[2])
        attend = BranchAttend(past.caches(context), mask)
        hidden, _ = self.transfusion(inputs, attend, Modalities.of(inputs.is_image), dtype=self.dtype)
        return hidden, attend.kept

    def sample_frame(
        self,
        branches: tuple["FrameAfter", "FrameAfter"],
        noise: Float[Tensor, "problem candidate token channel"],
        sampling: FrameSampling,
    ) -> Float[Tensor, "problem candidate token channel"]:
        """Sample one frame for each candidate from what comes before it, guided away from less before it."""
        conditional, free = branches

        def predict(noised: Tensor, time: float) -> Tensor:
            latents = conditional(noised, time)
            if sampling.guidance == 1:
                return latents
            return guide(latents, free(noised, time), scale=sampling.guidance)

        return sample(predict, noise, times=sampling.times, sampler=sampling.sampler)

    def predict(
        self,
        context: Context,
        past: Past,
        text: TextInputs | None,
        noised: Float[Tensor, "problem candidate token channel"],
        time: float,
    ) -> tuple[Float[Tensor, "problem candidate token channel"], Past]:
        """Predict clean latents after the past (and text, if it is not in the past yet)."""
        num_text = 0 if text is None else text.is_valid.shape[2]
        position = past.position if text is None else text.end
        inputs = self.frame_inputs(noised, position, time=time)
        valid = torch.ones(noised.shape[:3], dtype=torch.bool)
        if text is not None:
            inputs = join_inputs(text.inputs, inputs)
            valid = torch.cat((text.is_valid, valid), dim=2)
        mask = own_mask(past.is_valid, valid, num_text=num_text)
        attend = BranchAttend(past.caches(context), mask)
        hidden, _ = self.transfusion(inputs, attend, Modalities.of(inputs.is_image), dtype=self.dtype)
        times = torch.full(noised.shape[:3], time)
        output = self.transfusion.latents(hidden[:, :, num_text:], noised, times)
        latents = predicted_latent(output, noised, times, prediction=self.prediction)
        if text is None:
            return latents, past
        kept = [(key[:, :, :num_text], value[:, :, :num_text]) for key, value in attend.kept]
        return latents, past.extended(kept, text.is_valid, position)

    def append_frame(
        self,
        context: Context,
        past: Past,
        latents: Float[Tensor, "problem candidate token channel"],
        *,
        marker: TextInputs | None = None,
        time: float = 1.0,
    ) -> tuple[Past, Float[Tensor, "problem candidate width"]]:
        """Put a finished frame and its end marker into the caches, after `marker` if <image> is not there.

        The latents are clean, or noised to `time`. Returns the hidden state of the end marker too.
        """
        position = past.position if marker is None else marker.end
        end = self.token_inputs(
            torch.full((*position.shape, 1), self.tokenizer.image_end), (position + 1)[..., None]
        )
        inputs = join_inputs(self.frame_inputs(latents, position, time=time), end)
        if marker is not None:
            inputs = join_inputs(marker.inputs, inputs)
        valid = torch.ones(inputs.ids.shape, dtype=torch.bool)
        mask = own_mask(past.is_valid, valid, num_text=0 if marker is None else 1)
        mask[:, :, :-1, -1] = False  # the frame does not see the marker that ends it
        attend = BranchAttend(past.caches(context), mask)
        hidden, _ = self.transfusion(inputs, attend, Modalities.of(inputs.is_image), dtype=self.dtype)
        return past.extended(attend.kept, valid, position + 2), hidden[:, :, -1]

    def text_inputs(self, texts: list[str], position: Int[Tensor, "problem candidate"]) -> TextInputs:
        """Tokenise one text a candidate, put them at the right end of equally long rows, and add <image>."""
        tokenized = self.tokenizer.encode_many(texts)
        lengths = torch.tensor([len(tokens) for tokens in tokenized]).view(position.shape)
        longest = int(lengths.max())
        columns = {
            "ids": torch.full((len(texts), longest + 1), self.tokenizer.pad),
            "places": torch.zeros(len(texts), longest + 1, dtype=torch.long),
            "values": torch.zeros(len(texts), longest + 1),
            "is_value": torch.zeros(len(texts), longest + 1, dtype=torch.bool),
        }
        for row, tokens in enumerate(tokenized):
            for name, column in columns.items():
                column[row, longest - len(tokens) : longest] = torch.from_numpy(getattr(tokens, name))
        columns["ids"][:, -1] = self.tokenizer.image_begin
        columns = {name: column.view(*position.shape, longest + 1) for name, column in columns.items()}
        from_start = torch.arange(longest + 1) - (longest - lengths)[..., None]
        positions = torch.where(from_start >= 0, position[..., None] + from_start, 0)
        inputs = self.token_inputs(columns["ids"], positions)
        inputs = replace(inputs, **{name: columns[name] for name in ("places", "values", "is_value")})
        return TextInputs(inputs, from_start >= 0, position + lengths + 1)

    def marker_inputs(self, position: Int[Tensor, "problem candidate"]) -> TextInputs:
        """Only <image>: a frame that follows from the past alone."""
        ids = torch.full((*position.shape, 1), self.tokenizer.image_begin)
        inputs = self.token_inputs(ids, position[..., None])
        return TextInputs(inputs, torch.ones(ids.shape, dtype=torch.bool), position + 1)

    def token_inputs(
        self, ids: Int[Tensor, "problem candidate token"], positions: Int[Tensor, "problem candidate token"]
    ) -> TokenInputs:
        """Text tokens at their positions; what they say about numbers is left out."""
        zeros = torch.zeros(ids.shape)
        return TokenInputs(
            ids=ids,
            places=torch.zeros_like(ids),
            values=zeros,
            is_value=zeros.bool(),
            is_image=zeros.bool(),
            latents=zeros[..., None].expand(*ids.shape, self.transfusion.channels_in),
            times=zeros,
            positions=torch.stack((positions, torch.zeros_like(ids), torch.zeros_like(ids)), dim=-1),
        )

    def frame_inputs(
        self,
        latents: Float[Tensor, "problem candidate token channel"],
        position: Int[Tensor, "problem candidate"],
        *,
        time: float,
    ) -> TokenInputs:
        """Latents of one frame a candidate, all noised to one time."""
        grid = torch.from_numpy(frame_grid(latents.shape[2]))
        batch = latents.shape[:3]
        ids = torch.zeros(batch, dtype=torch.long)
        in_time = repeat(position, "problem candidate -> problem candidate token 1", token=batch[2])
        return TokenInputs(
            ids=ids,
            places=ids,
            values=torch.zeros(batch),
            is_value=torch.zeros(batch, dtype=torch.bool),
            is_image=torch.ones(batch, dtype=torch.bool),
            latents=as_generated(latents, channels_in=self.transfusion.channels_in),
            times=torch.full(batch, time),
            positions=torch.cat((in_time, grid.expand(*batch, 2)), dim=-1),
        )


class FrameAfter:
    """Predicts the frame that follows a past and a text; the text is read once and lies in `past` then."""

    def __init__(self, branching: Branching, context: Context, past: Past, text: TextInputs) -> None:
        self.past = past
        self._branching, self._context = branching, context
        self._unread: TextInputs | None = text

    def __call__(
        self, noised: Float[Tensor, "problem candidate token channel"], time: float
    ) -> Float[Tensor, "problem candidate token channel"]:
        """Return the clean latents that noised ones suggest."""
        latents, self.past = self._branching.predict(self._context, self.past, self._unread, noised, time)
        self._unread = None
        return latents


def noised_history(
    latents: Float[Tensor, "*batch channel"], noise: Float[Tensor, "*batch channel"], *, level: float
) -> Float[Tensor, "*batch channel"]:
    """Mix a little noise into finished frames: what they are at time 1 - level.

    An autoregressive model that was trained on frames of all noise levels drifts less if it is told that its
    own frames are slightly noisy (the stabilisation of diffusion forcing, arXiv 2407.01392).
    """
    return interpolate(noise, latents, torch.full(latents.shape[:-1], 1 - level))


def check_history_noise(level: float) -> None:
    """Raise ValueError unless a noise level of history is in [0, 1)."""
    if not 0 <= level < 1:
        raise ValueError(f"history_noise must be in [0, 1): 0 is clean history, 1 would be none; got {level}")
