"""WorldModel: context frames and actions as text go in, imagined latents come out.

The context is encoded once; its keys and values are shared by all candidates. Each step of a rollout appends
to the candidate's own cache; only the frame being denoised is computed again. A jump (one action, the whole
horizon) and a step-by-step rollout are the same call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from data_tools.action_text import parse_actions
from worldmodel.branch_inputs import TextInputs
from worldmodel.branching import (
    Branching,
    Context,
    FrameAfter,
    FrameSampling,
    Past,
    check_history_noise,
    noised_history,
)
from worldmodel.flattening import context_layout
from worldmodel.flow import Prediction, Sampler
from worldmodel.latent_io import as_context, as_generated
from worldmodel.representation.interface import Representation
from worldmodel.tokenizer import TextTokenizer
from worldmodel.transfusion import TokenInputs, Transfusion

__all__ = ["ACTION_PREFIX", "ActionTexts", "Context", "WorldModel"]

ActionTexts = Sequence[Sequence[Sequence[str]]]
"""One text for each problem, candidate and step."""

ACTION_PREFIX = "action:"
"""How a text begins that must be an action."""


class WorldModel:
    """A trained Transfusion, its tokenizer and its representation as an action-conditioned video predictor.

    `dtype` is the precision of compute; latents that come out are float32. `sampling_shift` is how far the
    times of the flow sampler are shifted toward noise, at least 1; 1 leaves them even. A rollout draws one
    noise for all problems and candidates of a step, so that costs differ by the actions alone, unless
    `is_noise_shared` is false.
    """

    def __init__(
        self,
        transfusion: Transfusion,
        tokenizer: TextTokenizer,
        representation: Representation,
        *,
        prediction: Prediction,
        dtype: torch.dtype = torch.float32,
        sampling_shift: float = 1.0,
        is_noise_shared: bool = True,
    ) -> None:
        self.transfusion = transfusion.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.representation = representation
        self.prediction = prediction
        self.dtype = dtype
        self.sampling_shift = sampling_shift
        self.is_noise_shared = is_noise_shared
        self.branching = Branching(
            self.transfusion,
            tokenizer,
            prediction=prediction,
            dtype=dtype,
        )

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

    def looked_at(
        self, frames: UInt8[Tensor, "batch height width 3"]
    ) -> Float[Tensor, "batch token channel"]:
        """Return what given frames enter with: their context channels, if the representation has any."""
        return as_context(self._encode_whole(frames), context_channels=self.transfusion.context_channels)

    @torch.inference_mode()
    def encode_context(
        self,
        frames: UInt8[Tensor, "problem frame height width 3"],
        *,
        history_noise: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Context:
        """Encode each problem's context frames, oldest first.

        `history_noise` mixes noise into them, drawn from `generator`: see `rollout`. ValueError if one is
        given without the other.
        """
        check_history_noise(history_noise)
        if (history_noise > 0) != (generator is not None):
            raise ValueError(
                "a noised context needs both history_noise and a generator to draw from; got "
                f"{history_noise} and {generator}"
            )
        num_problems, num_frames = frames.shape[:2]
        latents = self.looked_at(frames.flatten(0, 1))
        layout = context_layout(self.tokenizer, num_frames=num_frames, latents_per_frame=latents.shape[1])
        columns = {
            name: repeat(torch.from_numpy(column), "... -> problem ...", problem=num_problems)
            for name, column in layout.items()
        }
        if generator is not None:
            # Noised frames enter as those do that are generated.
            clean = self.encode(frames.flatten(0, 1))
            noise = torch.randn(clean.shape, generator=generator)
            noised = noised_history(clean, noise, level=history_noise)
            latents = as_generated(noised, channels_in=self.transfusion.channels_in)
            columns["times"] = torch.where(columns["is_image"], 1 - history_noise, columns["times"])
        context, _ = self.branching.encode(columns, latents)
        return context

    @torch.inference_mode()
    def extend_context(self, context: Context, frames: UInt8[Tensor, "problem height width 3"]) -> Context:
        """Return the context followed by one more frame of each problem, as a goal stands in documents."""
        past = Past.none(context, 1)
        marker = self.branching.marker_inputs(past.position)
        goal_past, _ = self.branching.append_frame(
            context, past, self.looked_at(frames)[:, None], marker=marker
        )
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
        past = Past.none(context, num_candidates)
        text = self.branching.text_inputs([one for own in actions for one in own], past.position)
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
        hidden, _ = self.branching.read(context, past, inputs, is_valid)
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
        sampler: Sampler = Sampler.euler,
        history_noise: float = 0.0,
    ) -> Float[Tensor, "problem candidate step token channel"]:
        """Imagine the frame after each action of each candidate.

        Args:
            context: What `encode_context` made.
            actions: A text that begins as an action must be one; any other is a command.
            num_steps: Steps of the flow sampler: one is the conditional mean.
            generator: Draws the noise of each frame, and that of history.
            guidance: Other than 1 moves away from what would be imagined without the action's text (arXiv
                2207.12598), which doubles the work. arXiv 2603.03276 draws pictures with 3.0.
            sampler: Heun's evaluates the model twice a step.
            history_noise: Imagined frames come into the history of later ones as they are at time
                1 - history_noise, with noise mixed in: against drift, as in diffusion forcing (arXiv
                2407.01392). 0 leaves them clean.

        Returns:
            The latents of every frame, without history's noise.

        Raises:
            ValueError: If a text begins as an action and is none, or a setting is out of range.
        """
        num_candidates, horizon = _check_actions(actions, context.num_problems)
        parse_actions([text for text in _texts_of(actions) if text.startswith(ACTION_PREFIX)])
        check_history_noise(history_noise)
        sampling = FrameSampling(
            num_steps=num_steps, sampler=sampler, guidance=guidance, time_shift=self.sampling_shift
        )
        past = Past.none(context, num_candidates)
        frame_shape = (self.representation.num_tokens, self.representation.num_channels)
        shape = frame_shape if self.is_noise_shared else (*past.position.shape, *frame_shape)
        frames = []
        for step in range(horizon):
            texts = [candidate[step] for problem in actions for candidate in problem]
            noise = torch.randn(shape, generator=generator)
            text = self.branching.text_inputs(texts, past.position)
            latents, text_past = self._imagine(context, past, text, noise, sampling)
            frames.append(latents)
            if step + 1 == horizon:
                break
            history = latents
            if history_noise > 0:
                mixed_in = torch.randn(shape, generator=generator).expand(latents.shape)
                history = noised_history(latents, mixed_in, level=history_noise)
            past, _ = self.branching.append_frame(context, text_past, history, time=1 - history_noise)
        return torch.stack(frames, dim=2)

    def _imagine(
        self,
        context: Context,
        past: Past,
        text: TextInputs,
        noise: Float[Tensor, "*batch token channel"],
        sampling: FrameSampling,
    ) -> tuple[Float[Tensor, "problem candidate token channel"], Past]:
        """Sample one frame for each candidate; return it with the past extended by its action's text."""
        conditional = FrameAfter(self.branching, context, past, text)
        free = FrameAfter(self.branching, context, past, self.branching.marker_inputs(past.position))
        expanded = noise.expand(*past.position.shape, *noise.shape[-2:])
        latents = self.branching.sample_frame((conditional, free), expanded, sampling)
        return latents, conditional.past


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
