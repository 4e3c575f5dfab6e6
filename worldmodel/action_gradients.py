"""Action gradients: how the cost of what is imagined changes with the numbers of the action text.

Where the parsed value of a number enters beside its text (`ActionInput.text_value`), an imagined frame is a
smooth function of the value, while the digits stay as they are written.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from data_tools.action_text import parse_actions
from worldmodel.branching import Context, FrameAfter, FrameSampling, Past
from worldmodel.predictor import ActionTexts, WorldModel
from worldmodel.transfusion import ActionInput

CostOfLatents = Callable[[Float[Tensor, "problem candidate token channel"]], Tensor]
"""The cost [problem, candidate] of each candidate's last latents; differentiable."""

NUMBERS = 4
"""Of an action: dx, dy, dyaw, dt."""


class ActionGradients:
    """The differentiable path through a world model; ValueError unless it reads action values as numbers."""

    def __init__(self, world_model: WorldModel) -> None:
        action_input = world_model.transfusion.config.action_input
        if action_input is not ActionInput.text_value:
            raise ValueError(
                "gradients reach an action through its parsed values, which needed "
                f"action_input={ActionInput.text_value.name}; this model has {action_input.name}: search "
                "without gradients, or train with model.action_input=text_value"
            )
        self._world_model = world_model

    def cost_gradients(
        self,
        context: Context,
        actions: Sequence[Sequence[Sequence[str]]],
        cost: CostOfLatents,
        *,
        num_steps: int,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "problem candidate"], Float[Tensor, "problem candidate step 4"]]:
        """Return candidates' costs, and their gradients with respect to the numbers of their texts.

        The latents are those of `WorldModel.rollout` with the same settings. What the digits themselves say
        is held fixed, so these are the gradients of the value features alone, summed over the whole rollout.

        Args:
            context: What `encode_context` made.
            actions: Action texts by problem, candidate and step.
            cost: Compares the last latents with the goals.
            num_steps: Steps of the flow sampler; memory grows with it.
            generator: Draws the noise of each frame; consumed as a rollout consumes it.

        Returns:
            Costs, and d cost / d (dx, dy, dyaw, dt) [1/m, 1/m, 1/rad, 1/s] of each action.

        Raises:
            ValueError: If a text is no action.
        """
        texts = [text for problem in actions for candidate in problem for text in candidate]
        numbers = torch.from_numpy(parse_actions(texts)).float()
        with torch.inference_mode(False), torch.enable_grad():
            values = numbers.view(len(actions), -1, len(actions[0][0]), NUMBERS)  # problem candidate step 4
            values = values.requires_grad_()
            latents = self._last_latents(_clone(context), actions, values, num_steps, generator)
            costs = cost(latents)
            # Candidates do not meet: the gradient of the sum is each candidate's own.
            (gradients,) = torch.autograd.grad(costs.sum(), values)
        return costs.detach(), gradients

    def _last_latents(
        self,
        context: Context,
        actions: ActionTexts,
        values: Float[Tensor, "problem candidate step 4"],
        num_steps: int,
        generator: torch.Generator,
    ) -> Float[Tensor, "problem candidate token channel"]:
        model = self._world_model
        branching = model.branching
        sampling = FrameSampling(num_steps=num_steps, guidance=1.0, time_shift=model.sampling_shift)
        past = Past.none(context, values.shape[1])
        frame_shape = (model.representation.num_tokens, model.representation.num_channels)
        shape = frame_shape if model.is_noise_shared else (*past.position.shape, *frame_shape)
        horizon = values.shape[2]
        for step in range(horizon):
            texts = [candidate[step] for problem in actions for candidate in problem]
            noise = torch.randn(shape, generator=generator).expand(*past.position.shape, *frame_shape)
            text = branching.text_inputs(texts, past.position)
            is_value = text.inputs.is_value  # four tokens of each text, in the order of the numbers
            entered = text.inputs.values.masked_scatter(is_value, values[:, :, step])
            text = replace(text, inputs=replace(text.inputs, values=entered))
            frame = FrameAfter(branching, context, past, text)
            latents = branching.sample_frame((frame, frame), noise, sampling)
            if step + 1 == horizon:
                return latents
            past, _ = branching.append_frame(context, frame.past, latents)
        raise AssertionError("a candidate has at least one step")


def _clone(context: Context) -> Context:
    """Return the context as tensors that gradients may pass beside: it was made in inference mode."""
    return replace(
        context,
        keys=tuple(key.clone() for key in context.keys),
        values=tuple(value.clone() for value in context.values),
        is_valid=None if context.is_valid is None else context.is_valid.clone(),
    )
