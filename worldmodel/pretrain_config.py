"""PretrainConfig: everything that determines a pretraining run."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from data_tools.document_config import DocumentConfig
from data_tools.mixture import MixtureConfig
from worldmodel.feedforward import FeedForwardKind
from worldmodel.objective import ObjectiveConfig
from worldmodel.optimisation import OptimisationConfig
from worldmodel.precision import Device, Precision
from worldmodel.sharding import Sharding
from worldmodel.transfusion import TransfusionConfig


class CompileUnit(Enum):
    """What is compiled in one piece."""

    model = "model"
    block = "block"
    """Each block: minutes less for a deep model, and the only way with `fsdp`, which works between blocks."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pretraining run; the values of nano, small, base and paper are those of conf/preset."""

    data: str = MISSING
    """Folder of trajectories, as `envs.collect` or `data_tools` writes them."""
    text: str = MISSING
    """Folder of public text, as `data_tools.text_sources` makes it."""
    representation: str = MISSING
    """Folder of a trained representation; the model's own with `start`."""
    start: str | None = None
    """Name or folder of a trained model to adapt, with its shape, vocabulary, representation, weights. None
    begins from random weights."""
    out: str = MISSING
    seed: int = 0
    vocab_size: int = 1024
    latents_per_frame: int | None = None
    """Tokens that the representation must give a frame; None takes what it gives."""
    latent_channels: int | None = None
    """Channels that it must give a token."""
    num_steps: int = 8000
    num_rows: int = 10
    tokens_per_row: int = 512
    rows_at_once: int | None = None
    """Rows that a process computes at once; fewer need less memory, and give the same step. None: all."""
    recompute: bool = False
    """Keep only the inputs of blocks for the backward pass: a third slower, a tenth of the memory."""
    device: Device = Device.cpu
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
    compile_unit: CompileUnit = CompileUnit.model
    sharding: Sharding = Sharding.replicated
    communication: Precision = Precision.float32
    """In what `fsdp` sends parameters; bfloat16 halves the traffic, and rounds norms and routers."""
    ranks_timeout_s: float = 1800.0
    """How long a rank waits for another, the first one's encoding of frames included [s]."""
    model: TransfusionConfig = field(default_factory=TransfusionConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimisation: OptimisationConfig = field(default_factory=OptimisationConfig)
    documents: DocumentConfig = field(default_factory=DocumentConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)

    def __post_init__(self) -> None:
        counts = {
            "num_steps": self.num_steps,
            "num_rows": self.num_rows,
            "tokens_per_row": self.tokens_per_row,
            "num_heldout_batches": self.num_heldout_batches,
            "evaluate_every": self.evaluate_every,
            "checkpoint_every": self.checkpoint_every,
            "keep_checkpoints": self.keep_checkpoints,
            "num_threads": self.num_threads,
            "rows_at_once": 1 if self.rows_at_once is None else self.rows_at_once,
        }
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        if self.start is not None and self.sharding is Sharding.fsdp:
            raise ValueError("a run that adapts a model (start) needs sharding=replicated")
        if self.ranks_timeout_s <= 0:
            raise ValueError(f"ranks_timeout_s must be above 0, got {self.ranks_timeout_s}")
        if self.compile and self.sharding is Sharding.fsdp and self.compile_unit is CompileUnit.model:
            raise ValueError("sharding=fsdp works between blocks; set compile_unit=block, or compile=false")
        has_experts = self.model.feedforward is FeedForwardKind.experts
        if self.compile and has_experts and self.precision is Precision.float32:
            raise ValueError(
                "torch compiles the grouped products of experts in bfloat16 alone; set precision=bfloat16 or "
                "compile=false"
            )
        if not 0 < self.heldout_share < 1:
            raise ValueError(f"heldout_share must be in (0, 1), got {self.heldout_share}")
