"""Precision: in what a network computes while it is trained."""

from enum import Enum

import torch


class Precision(Enum):
    """Of compute alone: parameters, optimiser and errors are float32 always."""

    float32 = "float32"
    bfloat16 = "bfloat16"

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype of that name."""
        match self:
            case Precision.float32:
                return torch.float32
            case Precision.bfloat16:
                return torch.bfloat16
