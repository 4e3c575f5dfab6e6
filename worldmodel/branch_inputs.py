"""Branch inputs: the tokens that candidates add to a context, and what those see of each other."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from worldmodel.transfusion import TokenInputs


@dataclass(frozen=True)
class TextInputs:
    """Text that comes before a frame, padded at its left end, and the position at which the frame stands."""

    inputs: TokenInputs
    is_valid: Bool[Tensor, "problem candidate token"]
    end: Int[Tensor, "problem candidate"]


def join_inputs(first: TokenInputs, second: TokenInputs) -> TokenInputs:
    """Concatenate along tokens."""
    return TokenInputs(
        **{
            item.name: torch.cat((getattr(first, item.name), getattr(second, item.name)), dim=2)
            for item in fields(TokenInputs)
        }
    )


def own_mask(
    past_valid: Bool[Tensor, "problem candidate past"],
    new_valid: Bool[Tensor, "problem candidate token"],
    *,
    num_text: int,
) -> Bool[Tensor, "problem candidate token past_and_token"]:
    """Return what each new token sees of the past and the new: text causally, a frame all text and itself.

    A padding token sees itself, so that its softmax is defined; nobody sees it.
    """
    num_tokens = new_valid.shape[2]
    index = torch.arange(num_tokens)
    seen = (index[None, :] <= index[:, None]) | ((index >= num_text)[:, None] & (index >= num_text)[None, :])
    new = (seen & new_valid[:, :, None, :]) | torch.eye(num_tokens, dtype=torch.bool)
    past = past_valid[:, :, None, :].expand(*new.shape[:3], past_valid.shape[2])
    return torch.cat((past, new), dim=-1)
