"""The training loss: next-token prediction on text plus flow matching on frames."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldmodel.attention import hybrid_mask
from worldmodel.documents import PackedBatch
from worldmodel.feedforward import Modalities
from worldmodel.flow import FlowConfig, flow_error, interpolate
from worldmodel.transfusion import PackedAttend, TokenInputs, Transfusion


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Weights of the losses (arXiv 2603.03276: 1 and 3)."""

    language_weight: float = 1.0
    flow_weight: float = 3.0
    flow: FlowConfig = field(default_factory=FlowConfig)


@dataclass(frozen=True)
class Losses:
    """The loss of one batch, and its parts by token for whoever wants them split.

    `language` [nats] and `flow` are weighted means; `token_nats` follows `PackedBatch.text_target`,
    `flow_errors` the flow targets of the batch in row-major order.
    """

    total: Float[Tensor, ""]
    language: Float[Tensor, ""]
    flow: Float[Tensor, ""]
    balance: Float[Tensor, ""]
    token_nats: Float[Tensor, " text_target"]
    flow_errors: Float[Tensor, " flow_target"]


def losses(
    model: Transfusion,
    batch: PackedBatch,
    noise: Float[Tensor, "row token channel"],
    config: ObjectiveConfig,
    *,
    dtype: torch.dtype,
    whole: PackedBatch | None = None,
) -> Losses:
    """Return the loss of a batch under given noise, computed in `dtype` with errors in float32.

    If the batch is some rows of `whole`, sums are divided by the counts of that: what such parts give adds up
    to the loss of the whole (of the load-balance loss a part gives its share of rows).
    """
    whole = batch if whole is None else whole
    noised = _noised(batch, noise)
    hidden, balance = _hidden_states(model, batch, noised, dtype=dtype)
    token_nats = F.cross_entropy(
        model.text_logits(hidden.flatten(0, 1)[batch.text_from]), batch.text_target, reduction="none"
    )
    language = (token_nats * batch.text_weight).sum() / whole.text_weight.sum().clamp_min(1.0)
    errors = _flow_errors(model, batch, noised, hidden, config)
    flow = errors.sum() / whole.is_flow_target.sum().clamp_min(1)
    balance = balance * (len(batch.ids) / len(whole.ids))
    total = config.language_weight * language + config.flow_weight * flow + balance
    return Losses(total, language, flow, balance, token_nats, errors)


def flow_errors(
    model: Transfusion,
    batch: PackedBatch,
    noise: Float[Tensor, "row token channel"],
    config: ObjectiveConfig,
    *,
    dtype: torch.dtype,
) -> Float[Tensor, " flow_target"]:
    """Return `Losses.flow_errors` alone: no text is scored."""
    noised = _noised(batch, noise)
    hidden, _ = _hidden_states(model, batch, noised, dtype=dtype)
    return _flow_errors(model, batch, noised, hidden, config)


def _noised(
    batch: PackedBatch, noise: Float[Tensor, "row token channel"]
) -> Float[Tensor, "row token channel"]:
    return torch.where(
        batch.is_image[..., None], interpolate(noise, batch.latents, batch.times), torch.zeros_like(noise)
    )


def _hidden_states(
    model: Transfusion, batch: PackedBatch, noised: Float[Tensor, "row token channel"], *, dtype: torch.dtype
) -> tuple[Float[Tensor, "row token width"], Float[Tensor, ""]]:
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
    attend = PackedAttend(hybrid_mask(batch.reach, batch.frame), lookahead=batch.latents_per_frame - 1)
    return model(inputs, attend, Modalities.of(batch.is_image), dtype=dtype)


def _flow_errors(
    model: Transfusion,
    batch: PackedBatch,
    noised: Float[Tensor, "row token channel"],
    hidden: Float[Tensor, "row token width"],
    config: ObjectiveConfig,
) -> Float[Tensor, " flow_target"]:
    target = batch.is_flow_target
    return flow_error(
        model.latents(hidden[target]), noised[target], batch.latents[target], batch.times[target], config.flow
    )
