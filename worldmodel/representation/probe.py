"""Probe: how well the displacement between two frames can be read from their latents by ridge regression.

Usage: python -m worldmodel.representation.probe train=[recordings/train] held_out=[recordings/val] \
    encoders.cross=outputs/nano encoders.single=outputs/nano_single out=outputs/probe.json

Two readings. `linear`: of the two latents, side by side: a linear probe in the strict sense. `bilinear`:
also of all products between the leading principal components of one latent and those of the other; how far
something moved depends on where it was and where it is together, which no linear function of the two
expresses. Beside the encoders that are named stand an untrained one of the same shape and the principal
components of pixels, as many as a latent has numbers.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import hydra
import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Float64, Int64, UInt8
from omegaconf import MISSING, DictConfig
from rich.console import Console
from rich.progress import track
from torch import Tensor

from data_tools.config import store, to_dict, to_object
from data_tools.randomness import generator_for
from data_tools.trajectory import displacement_between, read_trajectories
from worldmodel.representation.cache import FrameCache
from worldmodel.representation.rae import RaeConfig, RaeRepresentation

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Strengths of the penalty that are tried, relative to the mean square of a feature, on a part of the
training pairs."""
NUM_PCA_FRAMES = 4096

Describe = Callable[[UInt8[Tensor, "batch height width 3"]], Float[Tensor, "batch feature"]]
Combine = Callable[[Float[Tensor, "pair feature"], Float[Tensor, "pair feature"]], Float[Tensor, "pair both"]]


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
    num_train_pairs: int = 20_000
    num_held_out_pairs: int = 5_000
    num_components: int = 48
    """Principal components of each latent whose products the bilinear reading sees."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Coefficient of determination and root mean square error of dx [m], dy [m] and dyaw [rad]."""

    r2: list[float]
    rmse: list[float]
    mean_r2: float
    ridge: float


@dataclass(frozen=True, eq=False)
class Pairs:
    """Indices of earlier and later frames, and the displacement between them (m, m, rad)."""

    earlier: Int64[Tensor, " pair"]
    later: Int64[Tensor, " pair"]
    displacements: Float[Tensor, "pair 3"]


def fit_and_score(
    features: Float[Tensor, "pair feature"],
    targets: Float[Tensor, "pair 3"],
    test_features: Float[Tensor, "test feature"],
    test_targets: Float[Tensor, "test 3"],
) -> Reading:
    """Fit ridge regression, its penalty chosen on a sixth of the training pairs; score it on the others."""
    mean, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    features, test_features = (features - mean) / scale, (test_features - mean) / scale
    offset = targets.mean(dim=0)
    num_fit = len(features) * 5 // 6
    gram = features[:num_fit].T @ features[:num_fit] / num_fit
    moment = features[:num_fit].T @ (targets[:num_fit] - offset) / num_fit
    best_error, best_ridge, best_weight = float("inf"), RIDGES[0], torch.zeros_like(moment)
    for ridge in RIDGES:
        weight = torch.linalg.solve(gram + ridge * torch.eye(len(gram)), moment)
        missed = features[num_fit:] @ weight + offset - targets[num_fit:]
        error = float((missed.square().mean(dim=0) / targets.var(dim=0)).sum())
        if error < best_error:
            best_error, best_ridge, best_weight = error, ridge, weight
    squares = (test_features @ best_weight + offset - test_targets).square().mean(dim=0)
    r2 = 1 - squares / test_targets.var(dim=0, correction=0)
    return Reading(r2=r2.tolist(), rmse=squares.sqrt().tolist(), mean_r2=float(r2.mean()), ridge=best_ridge)


def principal_components(
    values: Float[Tensor, "frame feature"], *, count: int
) -> tuple[Float[Tensor, " feature"], Float[Tensor, "feature {count}"]]:
    """Return mean and axes of the leading components, scaled so that each has deviation 1 over `values`.

    Through whichever of covariance and Gram matrix is smaller.
    """
    mean = values.mean(dim=0)
    centred = values - mean
    if values.shape[0] < values.shape[1]:
        squares, vectors = torch.linalg.eigh(centred @ centred.T / len(values))
        axes = centred.T @ vectors[:, -count:] / len(values) ** 0.5
        # Those axes have length sqrt(square); dividing by the square itself makes unit axes over a deviation
        # of 1.
        scales = squares[-count:].clamp(min=1e-12)
    else:
        squares, vectors = torch.linalg.eigh(centred.T @ centred / len(values))
        axes, scales = vectors[:, -count:], squares[-count:].clamp(min=1e-12).sqrt()
    return mean, axes / scales


def with_products(
    first: Float[Tensor, "pair component"], second: Float[Tensor, "pair component"]
) -> Float[Tensor, "pair both"]:
    """Return both, and every product of a component of one with a component of the other."""
    products = einsum(first, second, "pair left, pair right -> pair left right")
    return torch.cat([first, second, products.flatten(1)], dim=1)


def read_displacement(
    describe: Describe, train: "Recording", test: "Recording", *, config: ProbeConfig
) -> dict[str, Reading]:
    """Return the linear and the bilinear reading of one description of frames.

    Args:
        describe: Turns frames into one vector each.
        train: What is fitted on.
        test: What is scored on.
        config: Numbers of pairs and components.

    Returns:
        The readings by name.
    """
    values, test_values = describe_all(describe, train.frames), describe_all(describe, test.frames)
    pairs = train.draw_pairs(config.num_train_pairs, config=config, rank=0)
    test_pairs = test.draw_pairs(config.num_held_out_pairs, config=config, rank=1)

    def read(
        features: Float[Tensor, "frame feature"],
        test_features: Float[Tensor, "other feature"],
        combine: Combine,
    ) -> Reading:
        return fit_and_score(
            combine(features[pairs.earlier], features[pairs.later]),
            pairs.displacements,
            combine(test_features[test_pairs.earlier], test_features[test_pairs.later]),
            test_pairs.displacements,
        )

    mean, axes = principal_components(values[: NUM_PCA_FRAMES * 2 : 2], count=config.num_components)
    return {
        "linear": read(values, test_values, lambda first, second: torch.cat([first, second], dim=1)),
        "bilinear": read((values - mean) @ axes, (test_values - mean) @ axes, with_products),
    }


@dataclass(frozen=True, eq=False)
class Recording:
    """Frames of trajectories, and the pose of each."""

    frames: FrameCache
    poses: Float64[np.ndarray, "frame 3"]

    @classmethod
    def open(cls, folders: Sequence[str], cache: Path, *, image_size: int) -> "Recording":
        """Read all trajectories in these folders; ValueError for one without poses."""
        trajectories = [t for folder in folders for t in read_trajectories(Path(folder)).trajectories]
        poses = [trajectory.poses for trajectory in trajectories if trajectory.poses is not None]
        if len(poses) < len(trajectories):
            missing = len(trajectories) - len(poses)
            raise ValueError(f"needed poses; {missing} trajectories in {folders} have none: leave those out")
        return cls(FrameCache.build(trajectories, cache, image_size=image_size), np.concatenate(poses))

    def draw_pairs(self, count: int, *, config: ProbeConfig, rank: int) -> Pairs:
        """Draw pairs of frames 1 to `config.max_gap` steps apart, with replacement."""
        generator = generator_for(config.seed, "data", rank=rank)
        indices = self.frames.pair_starts(max_gap=config.max_gap)
        earlier = indices[torch.randint(len(indices), (count,), generator=generator)]
        later = earlier + torch.randint(1, config.max_gap + 1, (count,), generator=generator)
        displacements = displacement_between(self.poses[earlier.numpy()], self.poses[later.numpy()])
        return Pairs(earlier, later, torch.from_numpy(displacements).float())


def describe_all(describe: Describe, frames: FrameCache) -> Float[Tensor, "frame feature"]:
    """Return the description of every frame."""
    indices = torch.arange(len(frames.frames))
    return torch.cat([describe(frames.at(part)) for part in indices.split(256)])


def pixel_components(frames: FrameCache, *, count: int) -> Describe:
    """Return the description of frames by the leading principal components of their pixels."""
    num_frames = len(frames.frames)
    indices = torch.linspace(0, num_frames - 1, min(num_frames, NUM_PCA_FRAMES)).round().long()
    mean, axes = principal_components(frames.at(indices).flatten(1).float() / 255, count=count)
    return lambda batch: (batch.flatten(1).float() / 255 - mean) @ axes


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
        name: lambda batch, encoder=representation: encoder.encode(batch).flatten(1)
        for name, representation in {**trained, "untrained": untrained}.items()
    }
    size = min(shape.num_tokens * shape.hidden_size, len(train.frames.frames) - 1)
    descriptions["pixel_components"] = pixel_components(train.frames, count=min(size, NUM_PCA_FRAMES - 1))
    results = {}
    for name, describe in track(descriptions.items(), description="probing"):
        results[name] = read_displacement(describe, train, test, config=config)
        found = {key: reading.r2 for key, reading in results[name].items()}
        Console().print(f"{name}: R2 (dx, dy, dyaw)", found)
    return results


@hydra.main(version_base=None, config_path="../conf", config_name="probe")
def main(node: DictConfig) -> None:
    """Probe, and write the readings as JSON."""
    config = to_object(node, ProbeConfig)
    results = probe(config)
    plain = {name: {key: asdict(reading) for key, reading in rows.items()} for name, rows in results.items()}
    out = Path(config.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".partial")
    temporary.write_text(json.dumps({"config": to_dict(config), "readings": plain}, indent=1))
    os.replace(temporary, out)


store("probe_schema", ProbeConfig)

if __name__ == "__main__":
    main()
