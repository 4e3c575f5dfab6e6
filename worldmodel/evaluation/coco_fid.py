"""COCO FID: drawn pictures against photos of the same captions.

`python -m worldmodel.evaluation.coco_fid model=FOLDER data=captions_val2014.json photos=FOLDER out=FOLDER`

The usual protocol: `num_captions` photos (30,000) are drawn without replacement from those that have
captions, and of each one of its captions, both by the seed. `images/<annotation id>.png` is drawn for each of
these and compared with the same photos: middle squares at `size` pixels. Some compare with all photos of the
set instead; a row says how many the reference is of.

`coco_fid` appears with the published weights of Inception alone (`inception=FILE`); the Frechet distance in
the features of a representation (`encoder=FOLDER`) has a name of its own. The hash of the data is of the file
of captions, and of the names and sizes of the photos alone: to read 30,000 once more takes minutes.
"""

import json
from collections import defaultdict
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
    draw_or_find,
    publish_benchmark,
)
from worldmodel.evaluation.features import INCEPTION, Features, features_of, inception_features
from worldmodel.evaluation.frechet import Gaussian, frechet_distance
from worldmodel.evaluation.pictures import read_squares
from worldmodel.evaluation.results import Row, hash_files, hash_sizes, hash_texts
from worldmodel.representation.open import load_representation


@dataclass(frozen=True, kw_only=True)
class CocoConfig(BenchmarkConfig):
    """Settings of COCO FID."""

    photos: str = MISSING
    """Folder with the photos that `images` of the JSON file names."""
    num_captions: int = 30_000
    """Photos, each with one of its captions."""
    size: int = 256
    """Height and width at which pictures are compared [pixels]."""
    inception: str | None = None
    encoder: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_captions < 2 or self.size < 1:
            raise ValueError(
                f"needed num_captions of at least 2 and size of at least 1, got {self.num_captions} and "
                f"{self.size}"
            )


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
    """Return a caption each of photos drawn without replacement, by number; ValueError if there are fewer."""
    by_photo: dict[str, list[Captioned]] = defaultdict(list)
    for each in captions:
        by_photo[each.file_name].append(each)
    if len(by_photo) < count:
        raise ValueError(
            f"needed {count} photos with captions, there are {len(by_photo)}; lower num_captions"
        )
    rng, names = numpy_generator_for(seed, "captions"), sorted(by_photo)
    drawn = [by_photo[names[index]] for index in rng.choice(len(names), size=count, replace=False).tolist()]
    return sorted((own[int(rng.integers(len(own)))] for own in drawn), key=lambda each: each.number)


def rows_of(drawn: Sequence[Path], photos: Sequence[Path], features: Features, *, size: int) -> list[Row]:
    """Return the distance of drawn pictures from photos."""
    real = Gaussian.of(features.of(read_squares(photos, size=size)))
    made = Gaussian.of(features.of(read_squares(drawn, size=size)))
    measure = "coco_fid" if features.name == INCEPTION else f"coco/{features.measure}"
    value = frechet_distance(real, made)
    return [Row(measure=measure, subset=f"{size} px", value=value, n=len(drawn), unit="pictures")]


def open_features(config: CocoConfig) -> list[Features]:
    """Return the features that distances are taken in; ValueError if there are none to score with."""
    features = []
    if config.encoder is not None:
        features.append(features_of(load_representation(Path(config.encoder))))
    if config.inception is not None:
        features.append(inception_features(Path(config.inception)))
    if config.stage is not Stage.generate and not features:
        raise ValueError("needed features to compare in: give inception=FILE, encoder=FOLDER, or both")
    return features


def run(config: CocoConfig) -> list[Row]:
    """Draw, score, or both."""
    torch.set_num_threads(config.num_threads)
    features = open_features(config)
    chosen = choose(read_captions(Path(config.data)), config.num_captions, seed=config.seed)
    photos = [Path(config.photos) / each.file_name for each in chosen]
    if config.stage is not Stage.generate:
        check_there(photos, what="photos", remedy="give photos=FOLDER with those of val2014")
    pictures = [config.images / f"{each.number}.png" for each in chosen]
    made_by = draw_or_find(
        config, [(each.caption, path) for each, path in zip(chosen, pictures, strict=True)]
    )
    if config.stage is Stage.generate:
        return []
    rows = [row for each in features for row in rows_of(pictures, photos, each, size=config.size)]
    count = len(photos)
    rows.append(Row(measure="coco/reference", subset="photos", value=float(count), n=count, unit="photos"))
    data_hash = hash_texts([hash_files([Path(config.data)]), hash_sizes(photos)])
    publish_benchmark("coco_fid", config, rows, data_hash=data_hash, made_by=made_by)
    return rows


store("coco_fid_schema", CocoConfig)


@hydra.main(version_base=None, config_path="../conf", config_name="coco_fid")
def main(node: DictConfig) -> None:
    """Run the configured benchmark."""
    run(to_object(node, CocoConfig))


if __name__ == "__main__":
    main()
