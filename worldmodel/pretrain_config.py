"""PretrainConfig: everything that determines a pretraining run."""

from dataclasses import dataclass, field
from enum import Enum

import torch
from omegaconf import MISSING

from data_tools.document_config import DocumentConfig
from data_tools.mixture import MixtureConfig
from worldmodel.objective import ObjectiveConfig
from worldmodel.optimisation import OptimisationConfig
from worldmodel.transfusion import TransfusionConfig


class Precision(Enum):
    """In what the transformer computes; parameters, optimiser and errors are float32 always."""

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


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pretraining run; the defaults are nano's."""

    data: str = MISSING
    """Folder of trajectories, as `envs.collect` or `data_tools` writes them."""
    text: str = MISSING
    """Folder of public text, as `data_tools.text_sources` makes it."""
    representation: str = MISSING
    """Folder of a trained representation."""
    out: str = MISSING
    seed: int = 0
    vocab_size: int = 1024
    num_steps: int = 8000
    num_rows: int = 10
    tokens_per_row: int = 512
    heldout_share: float = 0.05
    """Share of trajectories that are never trained on."""
    num_heldout_batches: int = 8
    evaluate_every: int = 500
    checkpoint_every: int = 250
    keep_checkpoints: int = 2
    num_threads: int = 2
    precision: Precision = Precision.bfloat16
    compile: bool = False
    """Compile the transformer: 1.3 to 1.7 times as fast on a CPU, after minutes; needs a C++ compiler."""
    model: TransfusionConfig = field(default_factory=TransfusionConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimisation: OptimisationConfig = field(default_factory=OptimisationConfig)
    documents: DocumentConfig = field(default_factory=DocumentConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
