"""Precision and device: in what and where a network computes while it is trained."""

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


class Device(Enum):
    """Where: on a CPU, or on a GPU of this process' own."""

    cpu = "cpu"
    cuda = "cuda"

    def of_rank(self, local_rank: int) -> torch.device:
        """Return the device of a process; ValueError if there is none."""
        match self:
            case Device.cpu:
                return torch.device("cpu")
            case Device.cuda:
                if torch.cuda.device_count() <= local_rank:
                    raise ValueError(
                        f"needed a GPU for process {local_rank} of this machine, found "
                        f"{torch.cuda.device_count()}; set device=cpu or start fewer processes"
                    )
                return torch.device("cuda", local_rank)
