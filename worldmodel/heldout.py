"""Held-out losses: perplexity by kind, and flow error by noise level with clean context apart."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from data_tools.documents import Kind
from worldmodel.attention import hybrid_mask
from worldmodel.documents import KINDS, PackedBatch
from worldmodel.objective import ObjectiveConfig, flow_errors, losses
from worldmodel.transfusion import Transfusion

TIME_EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


@torch.no_grad()
def heldout_losses(
    model: Transfusion,
    batches: Iterable[PackedBatch],
    config: ObjectiveConfig,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    rows_at_once: int | None = None,
) -> dict[str, float]:
    """Return mean losses over fixed batches, by name, computed `rows_at_once` at a time; None is all of one.

    `nats/<kind>` is the mean over a kind's predicted text tokens (perplexity is its exponential);
    `flow/clean/<kind>` the mean squared error of its frames all of whose past is clean: those that see no
    other frame that is predicted, in documents with a clean context (of a chain its first step, of a video
    its first frame); `flow/draft/<kind>` the error of the same frames without video, predicted from pure
    noise in one step, which is what planning does; `flow/noisy/<kind>` that of all frames of documents whose
    context is noised; and `flow/time_<low>` that of all frames with a time from that edge on.
    """
    nats, text_kinds, errors, kinds, times, clean, noisy = [], [], [], [], [], [], []
    drafts, draft_kinds = [], []
    device = next(model.parameters()).device
    for rows, drawn in _parts(batches, generator, rows_at_once=rows_at_once):
        batch, noise = rows.to(device), drawn.to(device)
        found = losses(model, batch, noise, config, dtype=dtype)
        nats.append(found.token_nats)
        text_kinds.append(batch.text_kind)
        target = batch.is_flow_target
        errors.append(found.flow_errors)
        kinds.append(batch.kind[target])
        times.append(batch.times[target])
        is_alone = batch.has_clean_context & ~sees_other_targets(batch)
        clean.append(is_alone[target])
        noisy.append(~batch.has_clean_context[target])
        drafted = replace(batch, times=torch.where(target, 0.0, batch.times))
        is_drafted = is_alone & (batch.kind != KINDS.index(Kind.video))
        drafts.append(flow_errors(model, drafted, noise, config, dtype=dtype)[is_drafted[target]])
        draft_kinds.append(batch.kind[target & is_drafted])
    report = _means("nats", torch.cat(nats), torch.cat(text_kinds))
    error, kind, time, is_clean, is_noisy = map(torch.cat, (errors, kinds, times, clean, noisy))
    report |= _means("flow/clean", error[is_clean], kind[is_clean])
    report |= _means("flow/noisy", error[is_noisy], kind[is_noisy])
    report |= _means("flow/draft", torch.cat(drafts), torch.cat(draft_kinds))
    for low, high in pairwise(TIME_EDGES):
        inside = (time >= low) & (time < high)
        if inside.any():
            report[f"flow/time_{low:.1f}"] = error[inside].mean().item()
    return report


def _parts(
    batches: Iterable[PackedBatch], generator: torch.Generator, *, rows_at_once: int | None
) -> Iterator[tuple[PackedBatch, Float[Tensor, "row token generated"]]]:
    """Yield some rows of each batch with their noise, which is drawn for the whole batch."""
    for batch in batches:
        noise, num_rows = torch.randn(batch.generated.shape, generator=generator), len(batch.ids)
        step = rows_at_once or num_rows
        for first in range(0, num_rows, step):
            rows = slice(first, first + step)
            yield (batch if step >= num_rows else batch.rows(rows)), noise[rows]


def sees_other_targets(batch: PackedBatch) -> Bool[Tensor, "row token"]:
    """Return which tokens attend to a frame that is to be predicted and is not their own."""
    is_other = batch.frame[:, :, None] != batch.frame[:, None, :]
    seen = hybrid_mask(batch.reach, batch.frame) & batch.is_flow_target[:, None, :] & is_other
    return seen.any(dim=-1)


def _means(name: str, values: torch.Tensor, kinds: torch.Tensor) -> dict[str, float]:
    report = {}
    for index in np.unique(kinds.cpu().numpy()).tolist():
        report[f"{name}/{KINDS[index].value}"] = values[kinds == index].mean().item()
    return report
