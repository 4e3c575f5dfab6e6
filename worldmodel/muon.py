"""Muon: momentum made orthogonal by Newton-Schulz steps, the work shared out over the ranks of a run.

That of `torch.optim.Muon` (arXiv 2502.16982) bit for bit; but of every `count` matrices each rank makes one
orthogonal and hands it to the others. A matrix whose rows lie on several ranks is gathered on one of them for
that and its rows are sent back, in bfloat16, in which the steps are computed anyway.

A stack of matrices, such as a mixture's experts, is updated matrix by matrix. Where stacks are shared out,
each rank holds whole matrices of them and needs no other.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.distributed as dist
from jaxtyping import BFloat16, Float
from torch import Tensor, nn

from worldmodel.pieces import Place
from worldmodel.ranks import Ranks

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_NUM_ITERATIONS = 5
_EPS = 1e-7
"""As in https://kellerjordan.github.io/posts/muon/."""
_MOMENTUM = 0.95


def orthogonal(matrices: Float[Tensor, "*stack row column"]) -> BFloat16[Tensor, "*stack row column"]:
    """Bring all singular values of a matrix, or of each of a stack, near 1: Newton-Schulz in bfloat16."""
    a, b, c = _COEFFICIENTS
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.bfloat16().reshape(-1, *matrices.shape[-2:])
    x = x.mT if is_tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_EPS)
    for _ in range(_NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).reshape(matrices.shape)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal; updates have the size of AdamW's.

    Args:
        parameters: what this rank holds of each matrix or stack of matrices.
        places: where that belongs in the matrix.
        are_shared_out: whether each rank holds its own rows of the matrices and matrices of the stacks, and
            not all of them.
        lr: learning rate.
        weight_decay: share of the weights, times the rate, that a step takes off.
        ranks: the processes that share the work.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        *,
        places: Mapping[Tensor, Place],
        are_shared_out: bool,
        lr: float,
        weight_decay: float,
        ranks: Ranks,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self._places, self._are_shared_out, self._ranks = places, are_shared_out, ranks

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update all matrices that have a gradient."""
        assert closure is None
        for group in self.param_groups:
            # Largest first, so that those which are made orthogonal at the same time are of about one size.
            ready = sorted((p for p in group["params"] if p.grad is not None), key=self._num_entries)
            for parameter, update in self._updates(ready):
                rows, columns = self._places[parameter].shape[-2:]
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                # 0.2 sqrt(max(rows, columns)): the size of AdamW's updates, so that both share one rate.
                parameter.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(rows, columns)))

    def _num_entries(self, parameter: Tensor) -> int:
        return -math.prod(self._places[parameter].shape)

    def _updates(self, parameters: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each parameter with its rows of the orthogonal momentum."""
        count = self._ranks.count
        if self._are_shared_out:
            own = [parameter for parameter in parameters if len(self._places[parameter].shape) > 2]
            yield from ((parameter, orthogonal(self._momentum(parameter))) for parameter in own)
            parameters = [parameter for parameter in parameters if len(self._places[parameter].shape) == 2]
        for first in range(0, len(parameters), count):
            bundle = parameters[first : first + count]
            momenta = [self._momentum(parameter) for parameter in bundle]
            places = [self._places[parameter] for parameter in bundle]
            if count == 1:
                yield bundle[0], orthogonal(momenta[0])
            elif self._are_shared_out:
                yield from zip(bundle, self._of_shared_out(momenta, places), strict=True)
            else:
                yield from zip(bundle, self._of_whole(momenta), strict=True)

    def _momentum(self, parameter: Tensor) -> Tensor:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        state["momentum_buffer"].lerp_(gradient, 1 - _MOMENTUM)
        return gradient.lerp(state["momentum_buffer"], _MOMENTUM)

    def _of_whole(self, momenta: Sequence[Tensor]) -> list[Tensor]:
        """Make one of the matrices orthogonal here, and get the others from the ranks that do them."""
        made = [
            orthogonal(momentum).contiguous()
            if owner == self._ranks.rank
            else torch.empty_like(momentum, dtype=torch.bfloat16)
            for owner, momentum in enumerate(momenta)
        ]
        for owner, each in enumerate(made):
            dist.broadcast(each, src=owner)
        return made

    def _of_shared_out(self, momenta: Sequence[Tensor], places: Sequence[Place]) -> list[Tensor]:
        """Gather one matrix, make it orthogonal and send its rows back; get the own rows of all others."""
        rank, count = self._ranks.rank, self._ranks.count
        own = [momentum.numel() for momentum in momenta] + [0] * (count - len(momenta))
        gathered = [0] * count
        if rank < len(places):
            shape = places[rank].shape
            parts = (Place.of_rank(shape, rank=each, count=count) for each in range(count))
            gathered = [math.prod(part.held_shape) for part in parts]
        flat = torch.cat([momentum.bfloat16().flatten() for momentum in momenta])
        whole = flat.new_empty(sum(gathered))
        dist.all_to_all_single(whole, flat, gathered, own)
        if rank < len(places):
            whole = orthogonal(whole.view(places[rank].shape)).flatten()
        dist.all_to_all_single(flat, whole, own, gathered)
        return [
            part.view(momentum.shape)
            for part, momentum in zip(flat.split(own[: len(momenta)]), momenta, strict=True)
        ]
