"""Probe: how well the displacement between two frames can be read from their latents by ridge regression.

Usage: python -m worldmodel.representation.probe train=[recordings/train] held_out=[recordings/val] \
    +encoders.cross=outputs/nano +encoders.single=outputs/nano_single out=outputs/probe.json

Two readings. `linear`: of the two latents side by side, a linear probe in the strict sense; it sees where
things are, and nothing of what moved: how far depends on where in one frame *and* where in the other.
`correlation`: linear in the inner product of every token of one frame with every token of the other (256
numbers at 16 tokens): it reads motion if tokens that show the same thing are alike.
Beside the encoders that are named stand an untrained one of the same shape, and the principal components of
the pixels of each patch, as many as a token has channels. All tokens are standardised over the training
frames.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import hydra
import numpy as np
import torch
from einops import einsum
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from omegaconf import MISSING, DictConfig
from rich.console import Console
from torch import Tensor

from data_tools.config import store, to_dict, to_object
from data_tools.pose import displacement_between
from data_tools.randomness import generator_for
from data_tools.whole_file import write_text
from worldmodel.recordings import open_recordings
from worldmodel.representation.cache import FrameCache
from worldmodel.representation.masked import to_patches
from worldmodel.representation.rae import RaeConfig, RaeRepresentation
from worldmodel.representation.ridge import Batches, Reading, fit_and_score

BATCH = 1024
NUM_COMPONENT_FRAMES = 4096
"""Frames that principal components are taken from."""
VALIDATION_EVERY = 5
"""One training trajectory of so many is kept to choose the penalty on."""

Describe = Callable[[UInt8[Tensor, "batch height width 3"]], Float[Tensor, "batch token channel"]]
Combine = Callable[
    [Float[Tensor, "pair token channel"], Float[Tensor, "pair token channel"]], Float[Tensor, "pair feature"]
]


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """What is probed, and on which pairs."""

    train: list[str] = MISSING
    """Folders of trajectories with poses that the regression is fitted on."""
    held_out: list[str] = MISSING
    """Folders of trajectories with poses that it is scored on."""
    encoders: dict[str, str] = field(default_factory=dict)
    """Name to folder of a trained representation."""
    out: str = MISSING
    """JSON file of the results."""
    cache: str = "outputs/probe_cache"
    seed: int = 0
    num_threads: int = 1
    max_gap: int = 8
    """Most steps between the frames of a pair."""
    num_train_pairs: int = 30_000
    num_held_out_pairs: int = 6_000


@dataclass(frozen=True, eq=False)
class Recording:
    """Frames of trajectories, and the pose of each."""

    frames: FrameCache
    poses: Float64[np.ndarray, "frame 3"]

    @classmethod
    def open(cls, folders: Sequence[str], cache: Path, *, image_size: int) -> "Recording":
        """Read all trajectories in these folders; ValueError for one without poses."""
        trajectories = open_recordings(folders)
        poses = [trajectory.poses for trajectory in trajectories if trajectory.poses is not None]
        if len(poses) < len(trajectories):
            missing = len(trajectories) - len(poses)
            raise ValueError(f"needed poses; {missing} trajectories in {folders} have none: leave those out")
        return cls(FrameCache.build(trajectories, cache, image_size=image_size), np.concatenate(poses))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Indices of earlier and later frames, the motion between them (m, m, rad), and their trajectories."""

    earlier: Int64[Tensor, " pair"]
    later: Int64[Tensor, " pair"]
    displacements: Float[Tensor, "pair 3"]
    trajectories: Int64[Tensor, " pair"]

    def where(self, chosen: Bool[Tensor, " pair"]) -> "Pairs":
        """Return some of the pairs."""
        return Pairs(
            self.earlier[chosen], self.later[chosen], self.displacements[chosen], self.trajectories[chosen]
        )


def draw_pairs(recording: Recording, count: int, *, max_gap: int, generator: torch.Generator) -> Pairs:
    """Draw pairs of frames 1 to `max_gap` steps apart, with replacement."""
    indices = recording.frames.pair_starts(max_gap=max_gap)
    if len(indices) == 0:
        raise ValueError(f"no trajectory has more than max_gap = {max_gap} frames; record longer ones")
    earlier = indices[torch.randint(len(indices), (count,), generator=generator)]
    later = earlier + torch.randint(1, max_gap + 1, (count,), generator=generator)
    displacements = displacement_between(recording.poses[earlier.numpy()], recording.poses[later.numpy()])
    owners = np.searchsorted(recording.frames.starts, earlier.numpy(), side="right") - 1
    return Pairs(earlier, later, torch.from_numpy(displacements).float(), torch.from_numpy(owners))


def side_by_side(
    first: Float[Tensor, "pair token channel"], second: Float[Tensor, "pair token channel"]
) -> Float[Tensor, "pair feature"]:
    """Return the features of the linear reading."""
    return torch.cat([first.flatten(1), second.flatten(1)], dim=1)


def correlations(
    first: Float[Tensor, "pair token channel"], second: Float[Tensor, "pair token channel"]
) -> Float[Tensor, "pair feature"]:
    """Return the mean product over channels of every token of one with every token of the other."""
    products = einsum(first, second, "pair here channel, pair there channel -> pair here there")
    return products.flatten(1) / first.shape[2]


def read_displacement(
    describe: Describe, train: Recording, test: Recording, *, config: ProbeConfig
) -> dict[str, Reading]:
    """Return the linear and the correlation reading of one description of frames."""
    tokens = describe_all(describe, train.frames)
    mean, scale = tokens.mean(dim=0), tokens.std(dim=0).clamp(min=1e-6)
    tokens, test_tokens = (tokens - mean) / scale, (describe_all(describe, test.frames) - mean) / scale
    pairs = draw_pairs(
        train,
        config.num_train_pairs,
        max_gap=config.max_gap,
        generator=generator_for(config.seed, "data", rank=0),
    )
    test_pairs = draw_pairs(
        test,
        config.num_held_out_pairs,
        max_gap=config.max_gap,
        generator=generator_for(config.seed, "data", rank=1),
    )
    # The penalty is chosen on trajectories of its own: pairs of one trajectory are too much alike.
    is_validation = pairs.trajectories % VALIDATION_EVERY == VALIDATION_EVERY - 1
    if not is_validation.any():
        raise ValueError(
            f"needed at least {VALIDATION_EVERY} training trajectories, to choose the penalty on every "
            f"{VALIDATION_EVERY}th, of more than max_gap = {config.max_gap} frames; got "
            f"{len(train.frames.starts) - 1}: name more in `train`"
        )
    return {
        name: fit_and_score(
            _batches(tokens, pairs.where(~is_validation), combine),
            _batches(tokens, pairs.where(is_validation), combine),
            _batches(test_tokens, test_pairs, combine),
        )
        for name, combine in (("linear", side_by_side), ("correlation", correlations))
    }


def describe_all(describe: Describe, frames: FrameCache) -> Float[Tensor, "frame token channel"]:
    """Return the description of every frame."""
    indices = torch.arange(len(frames.frames))
    return torch.cat([describe(frames.at(part)) for part in indices.split(256)])


def patch_components(frames: FrameCache, shape: RaeConfig) -> Describe:
    """Return the description of frames by the leading principal components of the pixels of their patches."""
    count = len(frames.frames)
    indices = torch.linspace(0, count - 1, min(count, NUM_COMPONENT_FRAMES)).round().long()
    pixels = to_patches(frames.at(indices), patch=shape.patch_size).flatten(0, 1)
    mean = pixels.mean(dim=0)
    covariance = (pixels - mean).T @ (pixels - mean) / len(pixels)
    axes = torch.linalg.eigh(covariance).eigenvectors[:, -shape.hidden_size :]
    return lambda batch: (to_patches(batch, patch=shape.patch_size) - mean) @ axes


def probe(config: ProbeConfig) -> dict[str, dict[str, Reading]]:
    """Read the displacement from every encoder, an untrained one, and pixels."""
    torch.set_num_threads(config.num_threads)
    trained = {name: RaeRepresentation.load(Path(folder)) for name, folder in config.encoders.items()}
    shapes = {representation.config for representation in trained.values()} or {RaeConfig()}
    if len(shapes) > 1:
        raise ValueError(f"encoders must have one shape to be compared; got {sorted(map(str, shapes))}")
    shape = shapes.pop()
    untrained = RaeRepresentation.create(shape, generator=generator_for(config.seed, "init"))
    train = Recording.open(config.train, Path(config.cache), image_size=shape.image_size)
    test = Recording.open(config.held_out, Path(config.cache), image_size=shape.image_size)
    descriptions: dict[str, Describe] = {
        **{name: representation.encode for name, representation in trained.items()},
        "untrained": untrained.encode,
        "pixel_components": patch_components(train.frames, shape),
    }
    console, results = Console(), dict[str, dict[str, Reading]]()
    for name, describe in descriptions.items():
        results[name] = read_displacement(describe, train, test, config=config)
        console.print(name, {key: reading.r2 for key, reading in results[name].items()})
    return results


def _batches(tokens: Float[Tensor, "frame token channel"], pairs: Pairs, combine: Combine) -> Batches:
    def batches() -> Iterator[tuple[Float[Tensor, "pair feature"], Float[Tensor, "pair 3"]]]:
        parts = zip(
            pairs.earlier.split(BATCH),
            pairs.later.split(BATCH),
            pairs.displacements.split(BATCH),
            strict=True,
        )
        for earlier, later, displacements in parts:
            yield combine(tokens[earlier], tokens[later]), displacements

    return batches


@hydra.main(version_base=None, config_path="../conf", config_name="probe")
def main(node: DictConfig) -> None:
    """Probe, and write the readings as JSON; R2 and errors are of dx [m], dy [m] and dyaw [rad]."""
    config = to_object(node, ProbeConfig)
    results = probe(config)
    plain = {name: {key: asdict(each) for key, each in rows.items()} for name, rows in results.items()}
    write_text(Path(config.out), json.dumps({"config": to_dict(config), "readings": plain}, indent=1))


store("probe_schema", ProbeConfig)

if __name__ == "__main__":
    main()
