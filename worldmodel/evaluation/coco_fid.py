"""COCO FID: drawn pictures against photos of the same captions.

`python -m worldmodel.evaluation.coco_fid model=FOLDER data=captions_val2014.json photos=FOLDER out=FOLDER`

Draws `images/<annotation id>.png` for `num_captions` captions (30,000 is usual), chosen by the seed, and
compares with the photos that those captions are of: their middle squares at `size` pixels. `coco_fid` appears
with the published weights of Inception alone (`inception=FILE`); the Frechet distance in the features of a
representation (`encoder=FOLDER`) has a name of its own.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hydra
import torch
from omegaconf import MISSING, DictConfig

from data_tools.config import store, to_object
from data_tools.randomness import numpy_generator_for
from worldmodel.evaluation.benchmark import (
    BenchmarkConfig,
    Stage,
    check_there,
    generate,
    publish_benchmark,
)
from worldmodel.evaluation.features import INCEPTION, Features, features_of, inception_features
from worldmodel.evaluation.frechet import Gaussian, frechet_distance
from worldmodel.evaluation.pictures import read_squares
from worldmodel.evaluation.results import Row
from worldmodel.representation.open import load_representation


@dataclass(frozen=True, kw_only=True)
class CocoConfig(BenchmarkConfig):
    """Settings of COCO FID."""

    photos: str = MISSING
    """Folder with the photos that `images` of the JSON file names."""
    num_captions: int = 30_000
    size: int = 256
    """Height and width at which pictures are compared [pixels]."""
    inception: str | None = None
    encoder: str | None = None


@dataclass(frozen=True)
class Captioned:
    """A caption and the photo that it is of."""

    number: int
    caption: str
    file_name: str


def read_captions(path: Path) -> list[Captioned]:
    """Read the captions of a COCO file, by number; ValueError for a file of another form."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {each["id"]: each["file_name"] for each in content["images"]}
        found = [
            Captioned(each["id"], each["caption"].strip(), names[each["image_id"]])
            for each in content["annotations"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: needed `images` (id, file_name) and `annotations` (id, image_id, caption): {error!r}; "
            "get captions_val2014.json of COCO"
        ) from error
    return sorted(found, key=lambda each: each.number)


def choose(captions: Sequence[Captioned], count: int, *, seed: int) -> list[Captioned]:
    """Return captions drawn without replacement, by number; ValueError if there are fewer."""
    if len(captions) < count:
        raise ValueError(f"needed {count} captions, there are {len(captions)}; lower num_captions")
    drawn = numpy_generator_for(seed, "captions").choice(len(captions), size=count, replace=False)
    return [captions[index] for index in sorted(drawn.tolist())]


def rows_of(drawn: Sequence[Path], photos: Sequence[Path], features: Features, *, size: int) -> list[Row]:
    """Return the distance of drawn pictures from photos; a photo with several captions counts once."""
    real = Gaussian.of(features.of(read_squares(list(dict.fromkeys(photos)), size=size)))
    made = Gaussian.of(features.of(read_squares(drawn, size=size)))
    measure = "coco_fid" if features.name == INCEPTION else f"coco/{features.measure}"
    value = frechet_distance(real, made)
    return [Row(measure=measure, subset=f"{size} px", value=value, n=len(drawn), unit="pictures")]


def run(config: CocoConfig) -> list[Row]:
    """Draw, score, or both."""
    torch.set_num_threads(config.num_threads)
    features = []
    if config.encoder is not None:
        features.append(features_of(load_representation(Path(config.encoder))))
    if config.inception is not None:
        features.append(inception_features(Path(config.inception)))
    if config.stage is not Stage.generate and not features:
        raise ValueError("needed features to compare in: give inception=FILE, encoder=FOLDER, or both")
    chosen = choose(read_captions(Path(config.data)), config.num_captions, seed=config.seed)
    pictures = [config.images / f"{each.number}.png" for each in chosen]
    if config.stage is not Stage.score:
        generate(config, [(each.caption, path) for each, path in zip(chosen, pictures, strict=True)])
    if config.stage is Stage.generate:
        return []
    photos = [Path(config.photos) / each.file_name for each in chosen]
    check_there(pictures)
    rows = [row for each in features for row in rows_of(pictures, photos, each, size=config.size)]
    publish_benchmark("coco_fid", config, rows, data=[Path(config.data)])
    return rows


store("coco_fid_schema", CocoConfig)


@hydra.main(version_base=None, config_path="../conf", config_name="coco_fid")
def main(node: DictConfig) -> None:
    """Run the configured benchmark."""
    run(to_object(node, CocoConfig))


if __name__ == "__main__":
    main()
