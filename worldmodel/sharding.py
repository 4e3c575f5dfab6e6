"""Sharding: whether every rank holds the whole state of a run, or each a part of it (FSDP).

With FSDP2 (arXiv 2304.11277; `torch.distributed.fsdp.fully_shard`) a rank holds some rows of every parameter,
of its moving average and of what the optimisers keep of it; a block's parameters are gathered while it
computes. Gradients are summed, since the parts of a loss are already divided by the whole batch, and each
part sends its own to their ranks: kept back until the last part they would be whole on every rank.
"""

from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from worldmodel.pieces import held
from worldmodel.ranks import Ranks
from worldmodel.transfusion import Transfusion


class Sharding(Enum):
    """Where the state of a run lies."""

    replicated = "replicated"
    """On every rank."""
    fsdp = "fsdp"
    """Each rank has its rows of every tensor; a single rank has all."""


def shard(model: Transfusion, *, ranks: Ranks, device: torch.device, communication: torch.dtype) -> None:
    """Leave this rank its rows of every parameter, on `device`; gather them in `communication`."""
    mesh = init_device_mesh(device.type, (ranks.count,))
    # Layers choose their dtypes themselves (precision.py), so nothing is cast on its way in or out.
    policy = MixedPrecisionPolicy(
        param_dtype=None if communication == torch.float32 else communication,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    # The root keeps embeddings and heads, which `text_logits` and `latents` use after the forward pass: it
    # gives up what it gathered after the backward pass only.
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def is_sharded(model: Transfusion) -> bool:
    """Whether `shard` was called on a model."""
    return isinstance(model, FSDPModule)


def forget_gathered(model: Transfusion) -> None:
    """Give up what a forward pass without a backward pass has gathered; nothing if the model is whole."""
    if isinstance(model, FSDPModule):
        model.reshard()


@torch.no_grad()
def copy_of(
    model: Transfusion, make: Callable[[], Transfusion], *, ranks: Ranks, device: torch.device
) -> Transfusion:
    """Return a sharded model equal to a sharded one, never whole on any rank; it needs no gradient.

    `make` constructs a model of the same sizes.
    """
    with torch.device("meta"):
        copy = make()
    copy.requires_grad_(False)
    shard(copy, ranks=ranks, device=device, communication=torch.float32)
    copy.to_empty(device=device)
    for ours, theirs in (
        (copy.named_parameters(), model.named_parameters()),
        (copy.named_buffers(), model.named_buffers()),
    ):
        for (_, tensor), (_, value) in zip(ours, theirs, strict=True):
            held(tensor).copy_(held(value))
    return copy


@torch.no_grad()
def gathered(model: Transfusion, make: Callable[[], Transfusion], *, ranks: Ranks) -> Transfusion | None:
    """Return a sharded model whole, in bfloat16 in the first rank's main memory; None on the others.

    All ranks must call it. One parameter at a time is whole on every rank.
    """
    whole: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        narrow = tensor.bfloat16() if tensor.is_floating_point() else tensor
        full = narrow.full_tensor() if isinstance(narrow, DTensor) else narrow
        if ranks.is_first:
            whole[name] = full.cpu()
    if not ranks.is_first:
        return None
    with torch.device("meta"):
        copy = make()
    copy.load_state_dict(whole, assign=True)
    return copy
