"""Frechet distances: `python -m worldmodel.evaluation.frechet_distance model=FOLDER data=FOLDER out=FOLDER`.

Of reconstructions from their originals, and with `generate=true` of pictures drawn from the captions of
recordings from the frames that those describe. `data` is a folder of recordings, or of pictures (these have
no captions). Features are those of the model's own representation, or of the one in `encoder`; of its own
encoder a model thinks too well, so compare models in the features of one. `fid` appears only with the
published weights of Inception (`inception=FILE`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import hydra
import numpy as np
import torch
from jaxtyping import UInt8
from omegaconf import MISSING, DictConfig
from torch import Tensor

from data_tools.config import store, to_object
from data_tools.randomness import numpy_generator_for
from data_tools.trajectory import TextKind, Trajectory
from worldmodel.evaluation.features import Encoder, Features, features_of, inception_features
from worldmodel.evaluation.frechet import Gaussian, frechet_distance
from worldmodel.evaluation.generators import open_generator
from worldmodel.evaluation.made_by import begin
from worldmodel.evaluation.pictures import draw_into, find_pictures, read_squares, square
from worldmodel.evaluation.results import Row, hash_files, publish_run
from worldmodel.model_folder import load_model
from worldmodel.precision import Precision
from worldmodel.recordings import open_recordings
from worldmodel.representation.cache import identity_of
from worldmodel.representation.interface import Representation
from worldmodel.representation.open import load_representation

AT_ONCE = 64

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class FrechetConfig:
    """Which pictures are compared, and in which features."""

    model: str = MISSING
    data: str = MISSING
    out: str = MISSING
    encoder: str | None = None
    """Folder of the representation whose features are compared; None takes the model's own."""
    inception: str | None = None
    """File with the published weights of Inception; without it there is no FID."""
    generate: bool = False
    num_pictures: int = 2048
    """At most so many originals; captions to draw from are as many."""
    seed: int = 0
    num_threads: int = 1
    precision: Precision = Precision.float32


@dataclass(frozen=True)
class Originals:
    """Real pictures at one size, those with a caption, and a hash of where they are from."""

    pictures: UInt8[Tensor, "picture size size 3"]
    captions: tuple[str, ...] | None
    """One a picture; None for pictures that nobody described."""
    identity: str


def open_originals(config: FrechetConfig, *, size: int) -> Originals:
    """Read the pictures that are compared with: captioned frames if there is something to be drawn."""
    folder = Path(config.data)
    if not any(folder.glob("*/info.json")):
        if config.generate:
            raise ValueError(f"needed recordings with captions to draw from; {folder} holds pictures alone")
        paths = spread(find_pictures(folder), config.num_pictures)
        pictures = torch.cat(list(read_squares(paths, size=size, at_once=AT_ONCE)))
        return Originals(pictures, None, hash_files(paths))
    trajectories = open_recordings([config.data])
    frames, captions = _described(trajectories) if config.generate else (_all_frames(trajectories), None)
    chosen = spread(range(len(frames)), config.num_pictures)
    squares = [square(trajectories[frames[i][0]].frames[frames[i][1]], size=size) for i in chosen]
    kept = None if captions is None else tuple(captions[index] for index in chosen)
    return Originals(torch.from_numpy(np.stack(squares)), kept, identity_of(trajectories))


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Return `count` items evenly spread over all, or all."""
    indices = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[index] for index in indices.tolist()]


def compare(
    originals: UInt8[Tensor, "picture size size 3"],
    made: UInt8[Tensor, "made size size 3"],
    features: Features,
    *,
    subset: str,
    rng: np.random.Generator,
) -> list[Row]:
    """Return the distance of made pictures from originals, and what two halves of the originals differ by.

    The second is for scale: it is of half as many pictures, which makes it larger, and 0 is the truth.
    """
    real, fake = features.of(_batches(originals)), features.of(_batches(made))
    order = rng.permutation(len(real))
    halves = [Gaussian.of(real[part]) for part in np.array_split(order, 2)]
    distance = frechet_distance(Gaussian.of(real), Gaussian.of(fake))
    return [
        Row(measure=features.measure, subset=subset, value=distance, n=len(fake), unit="pictures"),
        Row(
            measure=features.measure,
            subset="halves of the originals",
            value=frechet_distance(*halves),
            n=len(real) // 2,
            unit="pictures",
        ),
    ]


def reconstructed(
    representation: Representation, originals: UInt8[Tensor, "picture size size 3"]
) -> UInt8[Tensor, "picture size size 3"]:
    """Return what is left of pictures after encoding and decoding."""
    return torch.cat(
        [representation.decode(representation.encode(batch)).cpu() for batch in _batches(originals)]
    )


def run(config: FrechetConfig) -> list[Row]:
    """Compare what the configuration names, and write the rows."""
    torch.set_num_threads(config.num_threads)
    representation = load_model(config.model, dtype=config.precision.dtype).representation
    originals = open_originals(config, size=representation.image_size)
    captions, size = originals.captions, representation.image_size
    drawn = {} if captions is None else {"generation": _drawn(config, captions, size=size)}
    made = {"reconstruction": reconstructed(representation, originals.pictures)} | drawn
    rows: dict[tuple[str, str], Row] = {}
    for features in _all_features(config, representation):
        for subset, pictures in made.items():
            rng = numpy_generator_for(config.seed, "halves")
            own = compare(originals.pictures, pictures, features, subset=subset, rng=rng)
            rows |= {(row.measure, row.subset): row for row in own}
    found = list(rows.values())
    publish_run("frechet_distance", config, found, data=config.data, data_hash=originals.identity)
    return found


def _all_features(config: FrechetConfig, representation: Representation) -> list[Features]:
    encoder = representation if config.encoder is None else load_representation(Path(config.encoder))
    if not isinstance(encoder, Encoder):
        raise TypeError(f"{type(encoder).__name__} has no fingerprint, so features cannot be named after it")
    weights = [] if config.inception is None else [inception_features(Path(config.inception))]
    return [features_of(encoder), *weights]


def _drawn(
    config: FrechetConfig, captions: Sequence[str], *, size: int
) -> UInt8[Tensor, "picture size size 3"]:
    out = Path(config.out)
    paths = [out / "pictures" / f"{number:05}.png" for number in range(len(captions))]
    begin(config, [(path.name, caption) for path, caption in zip(paths, captions, strict=True)])
    model = open_generator(config.model, dtype=config.precision.dtype, seed=config.seed)
    draw_into(model, list(zip(captions, paths, strict=True)), out, at_once=AT_ONCE)
    return torch.cat(list(read_squares(paths, size=size, at_once=AT_ONCE)))


def _all_frames(trajectories: Sequence[Trajectory]) -> list[tuple[int, int]]:
    return [
        (index, frame)
        for index, trajectory in enumerate(trajectories)
        for frame in range(trajectory.num_frames)
    ]


def _described(trajectories: Sequence[Trajectory]) -> tuple[list[tuple[int, int]], list[str]]:
    found = [
        ((index, text.frame), text.text)
        for index, trajectory in enumerate(trajectories)
        for text in trajectory.texts
        if text.kind is TextKind.caption
    ]
    if not found:
        raise ValueError(f"none of {len(trajectories)} recordings has a caption; leave out generate")
    return [frame for frame, _ in found], [text for _, text in found]


def _batches(
    pictures: UInt8[Tensor, "picture size size 3"],
) -> Iterator[UInt8[Tensor, "batch size size 3"]]:
    bounds = [*range(0, len(pictures), AT_ONCE), len(pictures)]
    return (pictures[first:end] for first, end in pairwise(bounds))


store("frechet_distance_schema", FrechetConfig)


@hydra.main(version_base=None, config_path="../conf", config_name="frechet_distance")
def main(node: DictConfig) -> None:
    """Run the configured comparison."""
    run(to_object(node, FrechetConfig))


if __name__ == "__main__":
    main()
