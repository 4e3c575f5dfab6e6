"""WorldModel: context frames and actions as text go in, imagined latents come out.

The context is encoded once; its keys and values are shared by all candidates. Each step of a rollout appends
to the candidate's own cache; only the frame being denoised is computed again. A jump (one action, the whole
horizon) and a step-by-step rollout are the same call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from data_tools.action_text import parse_actions
from worldmodel.attention import LayerCache, hybrid_mask
from worldmodel.branch_inputs import TextInputs, join_inputs, own_mask
from worldmodel.feedforward import Modalities
from worldmodel.flattening import context_layout, frame_grid
from worldmodel.flow import Prediction, euler_step, predicted_latent
from worldmodel.latent_io import as_context, as_generated
from worldmodel.representation.interface import Representation
from worldmodel.tokenizer import TextTokenizer
from worldmodel.transfusion import BranchAttend, PackedAttend, TokenInputs, Transfusion

ActionTexts = Sequence[Sequence[Sequence[str]]]
"""One text for each problem, candidate and step."""

ACTION_PREFIX = "action:"
"""How a text begins that must be an action."""
TEXT_COLUMNS = ("ids", "places", "values", "is_value", "is_image", "times", "positions")
"""Columns of a packed row that a transformer reads beside the latents."""


@dataclass(frozen=True)
class Context:
    """Keys and values of the context of each problem, one pair a layer, and the position that comes next."""

    keys: tuple[Float[Tensor, "problem context kv_head head_dim"], ...]
    values: tuple[Float[Tensor, "problem context kv_head head_dim"], ...]
    next_position: int

    @property
    def num_problems(self) -> int:
        """Problems whose contexts these are."""
        return len(self.keys[0])


@dataclass(frozen=True)
class _Past:
    """What each candidate has gone through since the context: its keys and values, and where it stands."""

    keys: list[Tensor]  # a layer: problem candidate past kv_head head_dim
    values: list[Tensor]
    is_valid: Bool[Tensor, "problem candidate past"]
    position: Int[Tensor, "problem candidate"]

    def caches(self, context: Context) -> list[LayerCache]:
        """Join with the context, layer by layer."""
        return [
            LayerCache(*parts)
            for parts in zip(context.keys, context.values, self.keys, self.values, strict=True)
        ]

    def extended(self, kept: list[tuple[Tensor, Tensor]], valid: Tensor, position: Tensor) -> "_Past":
        """Append new tokens' keys and values."""
        return _Past(
            [torch.cat((old, new), dim=2) for old, (new, _) in zip(self.keys, kept, strict=True)],
            [torch.cat((old, new), dim=2) for old, (_, new) in zip(self.values, kept, strict=True)],
            torch.cat((self.is_valid, valid), dim=2),
            position,
        )


class WorldModel:
    """A trained Transfusion, its tokenizer and its representation as an action-conditioned video predictor.

    `dtype` is the precision of compute; latents that come out are float32.
    """

    def __init__(
        self,
        transfusion: Transfusion,
        tokenizer: TextTokenizer,
        representation: Representation,
        *,
        prediction: Prediction,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.transfusion = transfusion.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.representation = representation
        self.prediction = prediction
        self.dtype = dtype

    def encode(self, frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch token channel"]:
        """Return the latents of frames of any size that rollouts give; TypeError unless they are uint8."""
        return self._encode_whole(frames)[..., self.transfusion.context_channels :]

    def _encode_whole(
        self, frames: UInt8[Tensor, "batch height width 3"]
    ) -> Float[Tensor, "batch token channel"]:
        if frames.dtype != torch.uint8:
            raise TypeError(
                f"needed frames as uint8, levels from 0 to 255, got {frames.dtype}; scale and convert them"
            )
        return self.representation.encode(frames)

    def decode(self, latents: Float[Tensor, "batch token channel"]) -> UInt8[Tensor, "batch size size 3"]:
        """Return the frames that latents stand for."""
        return self.representation.decode(latents)

    def _looked_at(
        self, frames: UInt8[Tensor, "batch height width 3"]
    ) -> Float[Tensor, "batch token channel"]:
        """Return what given frames enter with: their context channels, if the representation has any."""
        return as_context(self._encode_whole(frames), context_channels=self.transfusion.context_channels)

    @torch.inference_mode()
    def encode_context(self, frames: UInt8[Tensor, "problem frame height width 3"]) -> Context:
        """Encode each problem's context frames, oldest first."""
        num_problems, num_frames = frames.shape[:2]
        latents = self._looked_at(frames.flatten(0, 1))
        layout = context_layout(self.tokenizer, num_frames=num_frames, latents_per_frame=latents.shape[1])
        columns = {
            name: repeat(torch.from_numpy(column), "... -> problem ...", problem=num_problems)
            for name, column in layout.items()
        }
        is_image = columns["is_image"]
        placed = torch.zeros(*is_image.shape, latents.shape[2])
        placed[is_image] = latents.flatten(0, 1)  # frame token -> image tokens, row by row
        inputs = TokenInputs(**{name: columns[name] for name in TEXT_COLUMNS}, latents=placed)
        attend = PackedAttend(hybrid_mask(columns["reach"], columns["frame"]), keep=True)
        self.transfusion(inputs, attend, Modalities.of(inputs.is_image), dtype=self.dtype)
        keys, values = zip(*attend.kept, strict=True)
        return Context(tuple(keys), tuple(values), next_position=int(columns["positions"][0, -1, 0]) + 1)

    @torch.inference_mode()
    def extend_context(self, context: Context, frames: UInt8[Tensor, "problem height width 3"]) -> Context:
        """Return the context followed by one more frame of each problem, as a goal stands in documents."""
        past = self._no_past(context, 1)
        marker = self._marker_inputs(past.position)
        goal_past = self._append_frame(context, past, self._looked_at(frames)[:, None], marker=marker)
        return Context(
            *(
                tuple(torch.cat((old, new[:, 0]), dim=1) for old, new in zip(olds, news, strict=True))
                for olds, news in ((context.keys, goal_past.keys), (context.values, goal_past.values))
            ),
            next_position=context.next_position + 3,
        )

    @torch.inference_mode()
    def action_nats(
        self, context: Context, actions: Sequence[Sequence[str]]
    ) -> Float[Tensor, "problem candidate"]:
        """Return how unlikely each action's text is after a context: nats of its tokens but the first.

        After a context that ends with a goal this is the model's own inverse dynamics. The first token is
        left out: all action texts begin alike.

        Args:
            context: What `encode_context` made, as a rule followed by a goal (`extend_context`).
            actions: One text for each problem and candidate.

        Returns:
            The sum over a text's tokens, float32.

        Raises:
            ValueError: If a text has fewer than two tokens.
        """
        num_candidates, _ = _check_actions(
            [[[text] for text in own] for own in actions], context.num_problems
        )
        past = self._no_past(context, num_candidates)
        text = self._text_inputs([one for own in actions for one in own], past.position)
        num_tokens = text.is_valid.sum(dim=2) - 1  # less the <image> behind it
        if (num_tokens < 2).any():
            problem, candidate = torch.nonzero(num_tokens < 2)[0].tolist()
            raise ValueError(
                "needed texts of at least two tokens, since the first is left out; got "
                f"{actions[problem][candidate]!r}"
            )
        # Each token predicts the next, the last one nothing; behind it stands the <image> of a rollout.
        inputs = TokenInputs(
            **{each.name: getattr(text.inputs, each.name)[:, :, :-2] for each in fields(TokenInputs)}
        )
        is_valid, following = text.is_valid[:, :, :-2], text.inputs.ids[:, :, 1:-1]
        mask = own_mask(past.is_valid, is_valid, num_text=is_valid.shape[2])
        attend = BranchAttend(past.caches(context), mask)
        hidden, _ = self.transfusion(inputs, attend, Modalities.of(inputs.is_image), dtype=self.dtype)
        nats = torch.zeros(is_valid.shape)
        nats[is_valid] = F.cross_entropy(
            self.transfusion.text_logits(hidden[is_valid]), following[is_valid], reduction="none"
        )
        return nats.sum(dim=2)

    @torch.inference_mode()
    def rollout(
        self,
        context: Context,
        actions: ActionTexts,
        *,
        num_steps: int,
        generator: torch.Generator,
        guidance: float = 1.0,
        is_noise_shared: bool = True,
    ) -> Float[Tensor, "problem candidate step token channel"]:
        """Imagine the frame after each action of each candidate.

        `num_steps` steps of the flow sampler: one is the conditional mean. The noise of a step is the same
        for all problems and candidates, so that costs differ by the actions alone, unless
        `is_noise_shared` is false. `guidance` other than 1 moves away from what would be imagined without
        the action's text (arXiv 2207.12598); it doubles the work.
        ValueError for a text that begins as an action and is none; any other text is a command.
        """
        num_candidates, horizon = _check_actions(actions, context.num_problems)
        parse_actions([text for text in _texts_of(actions) if text.startswith(ACTION_PREFIX)])
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        past = self._no_past(context, num_candidates)
        frames = []
        for step in range(horizon):
            texts = [candidate[step] for problem in actions for candidate in problem]
            noise = torch.randn(
                *(() if is_noise_shared else past.position.shape),
                *(self.representation.num_tokens, self.representation.num_channels),
                generator=generator,
            )
            text = self._text_inputs(texts, past.position)
            latents, text_past = self._denoise(context, past, text, noise, num_steps, guidance)
            frames.append(latents)
            if step + 1 < horizon:
                past = self._append_frame(context, text_past, latents)
        return torch.stack(frames, dim=2)

    def _denoise(
        self,
        context: Context,
        past: _Past,
        text: TextInputs,
        noise: Float[Tensor, "*batch token channel"],
        num_steps: int,
        guidance: float,
    ) -> tuple[Float[Tensor, "problem candidate token channel"], _Past]:
        """Sample one frame for each candidate; return it with the past extended by its action's text."""
        batch = past.position.shape
        noised = noise.expand(*batch, *noise.shape[-2:])
        times = torch.linspace(0, 1, num_steps + 1).tolist()
        # What comes before the frame is read in the first step and lies in the past from then on.
        text_past, unread_text = past, text
        free_past, unread_marker = past, self._marker_inputs(past.position)
        for time, next_time in pairwise(times):
            latents, text_past = self._predict(context, text_past, unread_text, noised, time)
            if guidance != 1:
                free, free_past = self._predict(context, free_past, unread_marker, noised, time)
                latents = free + guidance * (latents - free)
            unread_text = unread_marker = None
            noised = euler_step(noised, latents, time=time, next_time=next_time)
        return noised, text_past

    def _predict(
        self,
        context: Context,
        past: _Past,
        text: TextInputs | None,
        noised: Float[Tensor, "problem candidate token channel"],
        time: float,
    ) -> tuple[Float[Tensor, "problem candidate token channel"], _Past]:
        """Predict clean latents after the past (and text, if it is not in the past yet)."""
        num_text = 0 if text is None else text.is_valid.shape[2]
        position = past.position if text is None else text.end
        inputs = self._frame_inputs(noised, position, time=time)
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

    def _append_frame(
        self,
        context: Context,
        past: _Past,
        latents: Float[Tensor, "problem candidate token channel"],
        *,
        marker: TextInputs | None = None,
    ) -> _Past:
        """Put a finished frame and its end marker into the caches, after `marker` if <image> is not there."""
        position = past.position if marker is None else marker.end
        end = self._token_inputs(
            torch.full((*position.shape, 1), self.tokenizer.image_end), (position + 1)[..., None]
        )
        inputs = join_inputs(self._frame_inputs(latents, position, time=1.0), end)
        if marker is not None:
            inputs = join_inputs(marker.inputs, inputs)
        valid = torch.ones(inputs.ids.shape, dtype=torch.bool)
        mask = own_mask(past.is_valid, valid, num_text=0 if marker is None else 1)
        mask[:, :, :-1, -1] = False  # the frame does not see the marker that ends it
        attend = BranchAttend(past.caches(context), mask)
        self.transfusion(inputs, attend, Modalities.of(inputs.is_image), dtype=self.dtype)
        return past.extended(attend.kept, valid, position + 2)

    def _no_past(self, context: Context, num_candidates: int) -> _Past:
        batch = (context.num_problems, num_candidates)
        shape = (*batch, 0, *context.keys[0].shape[2:])
        empty = [context.keys[0].new_zeros(shape) for _ in context.keys]
        position = torch.full(batch, context.next_position)
        return _Past(empty, empty, torch.zeros(*batch, 0, dtype=torch.bool), position)

    def _text_inputs(self, texts: list[str], position: Int[Tensor, "problem candidate"]) -> TextInputs:
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
        inputs = self._token_inputs(columns["ids"], positions)
        inputs = replace(inputs, **{name: columns[name] for name in ("places", "values", "is_value")})
        return TextInputs(inputs, from_start >= 0, position + lengths + 1)

    def _marker_inputs(self, position: Int[Tensor, "problem candidate"]) -> TextInputs:
        """Only <image>: a frame that follows from the past alone."""
        ids = torch.full((*position.shape, 1), self.tokenizer.image_begin)
        inputs = self._token_inputs(ids, position[..., None])
        return TextInputs(inputs, torch.ones(ids.shape, dtype=torch.bool), position + 1)

    def _token_inputs(
        self, ids: Int[Tensor, "problem candidate token"], positions: Int[Tensor, "problem candidate token"]
    ) -> TokenInputs:
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

    def _frame_inputs(
        self,
        latents: Float[Tensor, "problem candidate token channel"],
        position: Int[Tensor, "problem candidate"],
        *,
        time: float,
    ) -> TokenInputs:
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


def _texts_of(actions: ActionTexts) -> Iterator[str]:
    return (text for problem in actions for candidate in problem for text in candidate)


def _check_actions(actions: ActionTexts, num_problems: int) -> tuple[int, int]:
    """Return the numbers of candidates and of steps, which all problems share."""
    if len(actions) != num_problems:
        raise ValueError(
            f"needed the candidates of {num_problems} problems (as in the context), got {len(actions)}"
        )
    sizes = {len(problem) for problem in actions}
    horizons = {len(candidate) for problem in actions for candidate in problem}
    if len(sizes) != 1 or len(horizons) != 1 or 0 in sizes or 0 in horizons:
        raise ValueError(
            f"needed equally many candidates and steps everywhere, at least one; got candidates "
            f"{sorted(sizes)} and steps {sorted(horizons)}"
        )
    return sizes.pop(), horizons.pop()
