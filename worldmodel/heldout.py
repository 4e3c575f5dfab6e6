"""Held-out losses: perplexity by kind, and flow error by noise level with clean context apart."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from worldmodel.documents import KINDS, PackedBatch
from worldmodel.objective import ObjectiveConfig, losses
from worldmodel.transfusion import Transfusion

TIME_EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


@torch.no_grad()
def heldout_losses(
    model: Transfusion,
    batches: Sequence[PackedBatch],
    config: ObjectiveConfig,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
) -> dict[str, float]:
    """Return mean losses over fixed batches, by name.

    `nats/<kind>` is the mean over a kind's predicted text tokens (perplexity is its exponential);
    `flow/<clean|noisy>/<kind>` the mean squared error of its frames, by whether the context was clean;
    `flow/time_<low>` the error of all frames with a time from that edge on; and `flow/draft/<kind>` that of
    frames predicted from pure noise with a clean context, in one step, which is what planning does.
    """
    nats, text_kinds, errors, kinds, times, clean = [], [], [], [], [], []
    drafts, draft_kinds = [], []
    for batch in batches:
        noise = torch.randn(batch.latents.shape, generator=generator)
        found = losses(model, batch, noise, config, dtype=dtype)
        nats.append(found.token_nats)
        text_kinds.append(batch.text_kind)
        target = batch.is_flow_target
        errors.append(found.flow_errors)
        kinds.append(batch.kind[target])
        times.append(batch.times[target])
        clean.append(batch.has_clean_context[target])
        drafted = _from_pure_noise(batch)
        found = losses(model, drafted, noise, config, dtype=dtype)
        drafts.append(found.flow_errors[batch.has_clean_context[target]])
        draft_kinds.append(batch.kind[target & batch.has_clean_context])
    report = _means("nats", torch.cat(nats), torch.cat(text_kinds))
    error, kind, is_clean, time = (torch.cat(parts) for parts in (errors, kinds, clean, times))
    report |= _means("flow/clean", error[is_clean], kind[is_clean])
    report |= _means("flow/noisy", error[~is_clean], kind[~is_clean])
    report |= _means("flow/draft", torch.cat(drafts), torch.cat(draft_kinds))
    for low, high in pairwise(TIME_EDGES):
        inside = (time >= low) & (time < high)
        if inside.any():
            report[f"flow/time_{low:.1f}"] = error[inside].mean().item()
    return report


def _from_pure_noise(batch: PackedBatch) -> PackedBatch:
    """Set the time of every frame to be predicted to 0."""
    fields = dict(vars(batch))
    fields["times"] = torch.where(batch.is_flow_target, 0.0, batch.times)
    return PackedBatch(**fields)


def _means(name: str, values: torch.Tensor, kinds: torch.Tensor) -> dict[str, float]:
    report = {}
    for index in np.unique(kinds.numpy()).tolist():
        report[f"{name}/{KINDS[index].value}"] = values[kinds == index].mean().item()
    return report
