"""The training loss: next-token prediction on text plus flow matching on frames."""

from dataclasses import dataclass, field
from enum import Enum

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldmodel.attend import Attend, PackedAttend
from worldmodel.attention import hybrid_mask
from worldmodel.block_attention import BlockAttend, hybrid_block_mask
from worldmodel.documents import PackedBatch
from worldmodel.feedforward import Modalities
from worldmodel.flow import FlowConfig, flow_error, interpolate, predicted_latent
from worldmodel.latent_io import as_context, as_generated
from worldmodel.transfusion import TokenInputs, Transfusion


class Weighing(Enum):
    """How the language and the flow loss are weighed against each other."""

    fixed = "fixed"
    centred = "centred"  # both are brought to one moving average: see `next_centre`


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Weights of the losses (arXiv 2603.03276: 1 and 3).

    There both fixed weights and centred losses are compared; the values of `centre_flow_share` and
    `centre_decay` are unknown.
    """

    language_weight: float = 1.0
    flow_weight: float = 3.0
    weighing: Weighing = Weighing.fixed
    centre_flow_share: float = 0.5
    """Share of the flow loss in the centre."""
    centre_decay: float = 0.99
    """Of the centre's moving average, a step."""
    flow: FlowConfig = field(default_factory=FlowConfig)

    def __post_init__(self) -> None:
        for name in ("centre_flow_share", "centre_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True)
class Losses:
    """The losses of one batch, and its parts by token for whoever wants them split.

    `language` [nats] and `flow` are weighted means; `load` is that of the experts, sums over tokens, for
    `Transfusion.balance_loss`; `token_nats` follows `PackedBatch.text_target`,
    `flow_errors` the flow targets of the batch in row-major order.
    """

    language: Float[Tensor, ""]
    flow: Float[Tensor, ""]
    load: Float[Tensor, "layer 2 expert"]
    token_nats: Float[Tensor, " text_target"]
    flow_errors: Float[Tensor, " flow_target"]

    @property
    def means(self) -> Float[Tensor, "2"]:
        """The losses of language and flow."""
        return torch.stack((self.language, self.flow))

    @property
    def counts(self) -> Float[Tensor, "layer expert"]:
        """How many tokens each expert got."""
        return self.load[:, 0].detach()

    def total(self, weights: Float[Tensor, "2"]) -> Float[Tensor, ""]:
        """Return the loss of language and flow to minimise, given their weights."""
        return weights[0] * self.language + weights[1] * self.flow


def next_centre(
    centre: Float[Tensor, ""] | None, means: Float[Tensor, "2"], config: ObjectiveConfig
) -> Float[Tensor, ""]:
    """Return the moving average of share * flow + (1 - share) * language after a batch with these means.

    A loss that is 0 has nothing to predict in the batch, and leaves the centre to the other one.
    Source: loss centring (arXiv 2603.03276, appendix D.2).
    """
    language, flow = means.detach()
    share = config.centre_flow_share
    current = torch.where(
        (language == 0) | (flow == 0), language + flow, share * flow + (1 - share) * language
    )
    return current if centre is None else config.centre_decay * centre + (1 - config.centre_decay) * current


def loss_weights(
    means: Float[Tensor, "2"], centre: Float[Tensor, ""] | None, config: ObjectiveConfig
) -> Float[Tensor, "2"]:
    """Return the weights of language and flow, given their means over the whole batch and its centre."""
    fixed = means.new_tensor([config.language_weight, config.flow_weight])
    match config.weighing:
        case Weighing.fixed:
            return fixed
        case Weighing.centred:
            assert centre is not None
            return torch.where(means == 0, fixed, centre / means.detach())


def losses(
    model: Transfusion,
    batch: PackedBatch,
    noise: Float[Tensor, "row token generated"],
    config: ObjectiveConfig,
    *,
    dtype: torch.dtype,
    whole: PackedBatch | None = None,
    recompute: bool = False,
) -> Losses:
    """Return the losses of a batch under given noise, computed in `dtype` with errors in float32.

    If the batch is some rows of `whole`, sums are divided by the counts of that: what such parts give adds up
    to the losses of the whole. `recompute` is that of `Transfusion.forward`.
    """
    whole = batch if whole is None else whole
    noised = _noised(batch, noise)
    hidden, load = _hidden_states(model, batch, noised, dtype=dtype, recompute=recompute)
    token_nats = F.cross_entropy(
        model.text_logits(hidden.flatten(0, 1)[batch.text_from]), batch.text_target, reduction="none"
    )
    language = (token_nats * batch.text_weight).sum() / whole.text_weight.sum().clamp_min(1.0)
    errors = _flow_errors(model, batch, noised, noise, hidden, config)
    flow = errors.sum() / whole.is_flow_target.sum().clamp_min(1)
    return Losses(language, flow, load, token_nats, errors)


def flow_errors(
    model: Transfusion,
    batch: PackedBatch,
    noise: Float[Tensor, "row token generated"],
    config: ObjectiveConfig,
    *,
    dtype: torch.dtype,
) -> Float[Tensor, " flow_target"]:
    """Return `Losses.flow_errors` alone: no text is scored."""
    noised = _noised(batch, noise)
    hidden, _ = _hidden_states(model, batch, noised, dtype=dtype)
    return _flow_errors(model, batch, noised, noise, hidden, config)


def _noised(
    batch: PackedBatch, noise: Float[Tensor, "row token generated"]
) -> Float[Tensor, "row token noised_channel"]:
    """Return what frames enter with: noised latents, and of two encoders' one half (`_of_two_encoders`)."""
    noised = torch.where(
        batch.is_image[..., None], interpolate(noise, batch.generated, batch.times), torch.zeros_like(noise)
    )
    return _of_two_encoders(batch, noised) if batch.num_context_channels else noised


def _of_two_encoders(
    batch: PackedBatch, noised: Float[Tensor, "row token generated"]
) -> Float[Tensor, "row token channel"]:
    """Return the noised channels of frames that are predicted, and the context channels of all others."""
    is_target = batch.is_flow_target[..., None]
    looked_at = as_context(batch.latents, context_channels=batch.num_context_channels)
    entered = as_generated(noised, channels_in=batch.latents.shape[-1])
    return torch.where(is_target, entered, looked_at)


def _hidden_states(
    model: Transfusion,
    batch: PackedBatch,
    noised: Float[Tensor, "row token channel"],
    *,
    dtype: torch.dtype,
    recompute: bool = False,
) -> tuple[Float[Tensor, "row token width"], Float[Tensor, "layer 2 expert"]]:
    inputs = TokenInputs(
        ids=batch.ids,
        places=batch.places,
        values=batch.values,
        is_value=batch.is_value,
        is_image=batch.is_image,
        latents=noised,
        times=batch.times,
        positions=batch.positions,
    )
    attend: Attend = (
        BlockAttend(hybrid_block_mask(batch.reach, batch.frame))
        if batch.reach.is_cuda
        else PackedAttend(hybrid_mask(batch.reach, batch.frame), lookahead=batch.latents_per_frame - 1)
    )
    return model(inputs, attend, Modalities.of(batch.is_image), dtype=dtype, recompute=recompute)


def _flow_errors(
    model: Transfusion,
    batch: PackedBatch,
    noised: Float[Tensor, "row token channel"],
    noise: Float[Tensor, "row token generated"],
    hidden: Float[Tensor, "row token width"],
    config: ObjectiveConfig,
) -> Float[Tensor, " flow_target"]:
    target = batch.is_flow_target
    entered, times = noised[..., batch.num_context_channels :][target], batch.times[target]
    output = model.latents(hidden[target], entered, times)
    return flow_error(output, noise[target], batch.generated[target], times, config.flow)


@torch.no_grad()
def predict_latents(
    model: Transfusion,
    batch: PackedBatch,
    noise: Float[Tensor, "row token generated"],
    config: ObjectiveConfig,
    *,
    dtype: torch.dtype,
) -> Float[Tensor, "flow_target generated"]:
    """Return the clean latents that the model sees in noised ones, of the flow targets in row-major order."""
    noised, target = _noised(batch, noise), batch.is_flow_target
    hidden, _ = _hidden_states(model, batch, noised, dtype=dtype)
    entered, times = noised[..., batch.num_context_channels :][target], batch.times[target]
    output = model.latents(hidden[target], entered, times)
    return predicted_latent(output, entered, times, prediction=config.flow.prediction)
