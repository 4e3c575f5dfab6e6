"""Flow loss: `python -m worldmodel.evaluation.flow_loss model=FOLDER data=FOLDER out=FOLDER`.

The error of predicted frames by kind of document and noise level: the same frames at each level, with a clean
past and no other frame to predict in sight, as planning has it. Documents are drawn as in training, from all
recordings in `data`; intervals are over recordings.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import hydra
import numpy as np
import torch
from jaxtyping import Float
from omegaconf import MISSING, DictConfig
from rich.progress import track
from torch import Tensor

from data_tools.builders import make_builders
from data_tools.config import store, to_object
from data_tools.document_config import DocumentConfig
from data_tools.documents import Document, FrameKey, Kind, frames_of
from data_tools.mixture import Mixture
from data_tools.randomness import generator_for, numpy_generator_for
from data_tools.trajectory import Trajectory
from worldmodel.documents import KINDS, PackedBatch, Packer
from worldmodel.evaluation.intervals import mean_interval
from worldmodel.evaluation.results import Row, publish_run
from worldmodel.flow import FlowConfig
from worldmodel.heldout import sees_other_targets
from worldmodel.live_latents import LiveLatents
from worldmodel.model_folder import load_model
from worldmodel.objective import ObjectiveConfig, flow_errors
from worldmodel.precision import Precision
from worldmodel.predictor import WorldModel
from worldmodel.recordings import open_recordings
from worldmodel.representation.cache import identity_of

FRAME_KINDS = (Kind.forward, Kind.instructed, Kind.caption, Kind.video)
"""Kinds with frames that are predicted from a clean past."""


@dataclass(frozen=True, kw_only=True)
class FlowLossConfig:
    """What is measured."""

    model: str = MISSING
    data: str = MISSING
    out: str = MISSING
    kinds: list[Kind] = field(default_factory=lambda: list(FRAME_KINDS))
    times: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
    """Flow times of the frames: 0 is noise, 1 is data."""
    num_batches: int = 16
    """Batches of each kind."""
    num_rows: int = 8
    tokens_per_row: int = 512
    documents: DocumentConfig = field(default_factory=DocumentConfig)
    seed: int = 0
    num_threads: int = 1
    precision: Precision = Precision.float32

    def __post_init__(self) -> None:
        if not self.times or not all(0 <= time < 1 for time in self.times):
            raise ValueError(f"needed times in [0, 1), at least one; got {self.times}")
        if not self.kinds or not set(self.kinds) <= set(FRAME_KINDS):
            raise ValueError(
                f"needed kinds with frames to predict ({', '.join(kind.value for kind in FRAME_KINDS)}), at "
                f"least one; got {[kind.value for kind in self.kinds]}"
            )
        if min(self.num_batches, self.num_rows) < 1:
            raise ValueError(
                f"needed num_batches and num_rows of at least 1; got {self.num_batches} and {self.num_rows}"
            )


@dataclass(frozen=True)
class PlacedBatch:
    """A batch, and the frames of each of its rows in order."""

    batch: PackedBatch
    frames: list[list[FrameKey]]


def placed_batches(
    documents: Iterator[Document], packer: Packer, *, count: int, rng: np.random.Generator
) -> Iterator[PlacedBatch]:
    """Fill batches with documents; the one that finds no room opens the next."""
    document = next(documents)
    for _ in range(count):
        rows = packer.empty()
        while rows.place(document, packer.length(document)):
            document = next(documents)
        frames: list[list[FrameKey]] = [[] for _ in range(packer.num_rows)]
        for placed, row in rows.documents:
            frames[row].extend(frames_of(placed))
        yield PlacedBatch(packer.pack(rows, rng=rng), frames)


def frame_errors(
    model: WorldModel, placed: PlacedBatch, noise: Float[Tensor, "row token channel"], *, time: float
) -> list[tuple[FrameKey, float]]:
    """Return the error of each frame that alone is to be predicted, all of them at one time."""
    batch = placed.batch
    target = batch.is_flow_target
    timed = replace(batch, times=torch.where(target, time, batch.times))
    errors = torch.full(target.shape, torch.nan)
    objective = ObjectiveConfig(
        flow=FlowConfig(prediction=model.prediction, loss_space=model.prediction, clean_context_share=1.0)
    )
    errors[target] = flow_errors(model.transfusion, timed, noise, objective, dtype=model.dtype)
    is_alone = target & ~sees_other_targets(batch)
    found = []
    for row, keys in enumerate(placed.frames):
        for number, key in enumerate(keys):
            own = errors[row][is_alone[row] & (batch.frame[row] == number)]
            if len(own):
                found.append((key, float(own.double().mean())))
    return found


@torch.inference_mode()
def measure(
    model: WorldModel, trajectories: Sequence[Trajectory], kind: Kind, config: FlowLossConfig
) -> list[Row]:
    """Return the errors of one kind at each time; ValueError if the recordings cannot make the kind."""
    flow = FlowConfig(prediction=model.prediction, clean_context_share=1.0)
    packer = Packer(
        model.tokenizer,
        LiveLatents(model.representation, trajectories),
        flow,
        num_rows=config.num_rows,
        tokens_per_row=config.tokens_per_row,
        latents_per_frame=model.representation.num_tokens,
    )
    builders = make_builders(trajectories, (), config.documents, kinds=(kind,))
    seed = int(numpy_generator_for(config.seed, "flow_loss").integers(2**31))
    mixture = Mixture(builders, {kind: 1.0}, seed=seed, count_tokens=packer.length)
    rng = numpy_generator_for(config.seed, f"flow_loss/{KINDS.index(kind)}")
    noise = generator_for(config.seed, f"flow_loss/{KINDS.index(kind)}")
    errors: dict[float, list[float]] = defaultdict(list)
    groups: list[str] = []
    placed = placed_batches(mixture, packer, count=config.num_batches, rng=rng)
    for each in track(placed, total=config.num_batches, description=kind.value):
        drawn = torch.randn(each.batch.generated.shape, generator=noise)
        found = {time: frame_errors(model, each, drawn, time=time) for time in config.times}
        for time, own in found.items():
            errors[time] += [error for _, error in own]
        groups += [trajectories[key.trajectory].name for key, _ in found[config.times[0]]]
    return [
        Row.of(
            f"flow_error/time_{time:g}",
            kind.value,
            mean_interval(np.array(values), groups, rng=numpy_generator_for(config.seed, "bootstrap")),
            n=len(values),
            unit="frames",
            over="recordings",
        )
        for time, values in errors.items()
    ]


def run(config: FlowLossConfig) -> list[Row]:
    """Measure what the configuration names, and write the rows."""
    torch.set_num_threads(config.num_threads)
    model = load_model(config.model, dtype=config.precision.dtype)
    trajectories = open_recordings([config.data])
    rows = [row for kind in config.kinds for row in measure(model, trajectories, kind, config)]
    publish_run("flow_loss", config, rows, data=config.data, data_hash=identity_of(trajectories))
    return rows


store("flow_loss_schema", FlowLossConfig)


@hydra.main(version_base=None, config_path="../conf", config_name="flow_loss")
def main(node: DictConfig) -> None:
    """Run the configured measurement."""
    run(to_object(node, FlowLossConfig))


if __name__ == "__main__":
    main()
