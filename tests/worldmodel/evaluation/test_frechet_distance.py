"""Frechet distances of pictures: named after what they are taken in, and FID only with its own weights."""

import json
import sys
import types
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worldmodel.evaluation.fakes import Mute, write_json, write_pictures
from worldmodel.evaluation import benchmark, coco_fid, features, frechet_distance
from worldmodel.evaluation.coco_fid import CocoConfig
from worldmodel.evaluation.features import Encoder, Features, features_of, inception_features
from worldmodel.evaluation.frechet_distance import FrechetConfig, Originals, compare, spread
from worldmodel.evaluation.pictures import find_pictures, read_squares, square


class BlurRepresentation:
    """Four tokens, each the mean colour of a quarter of the picture."""

    fingerprint = "abc"
    image_size, num_tokens, num_channels, num_context_channels = 8, 4, 3, 0

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        quarters = torch.nn.functional.adaptive_avg_pool2d(frames.permute(0, 3, 1, 2).float(), 2)
        return quarters.flatten(2).transpose(1, 2)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        grid = latents.transpose(1, 2).unflatten(2, (2, 2))
        return torch.nn.functional.interpolate(grid, size=8).permute(0, 2, 3, 1).to(torch.uint8)


def pictures(count: int, *, shift: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(count)
    return torch.from_numpy(rng.integers(0, 200, (count, 8, 8, 3), dtype=np.uint8) + np.uint8(shift))


def test_measures_carry_the_name_of_their_encoder():
    assert isinstance(BlurRepresentation(), Encoder)
    found = features_of(BlurRepresentation())
    assert found.measure == "frechet_distance[blur:abc]"
    assert Features("inception", found.describe).measure == "fid"
    torch.testing.assert_close(found.describe(pictures(3)), pictures(3).float().mean(dim=(1, 2)))


def test_a_shift_of_all_pictures_is_the_square_of_its_length():
    rng = np.random.default_rng(0)
    rows = compare(
        pictures(70), pictures(70, shift=9), features_of(BlurRepresentation()), subset="x", rng=rng
    )
    assert rows[0].value == pytest.approx(3 * 81, rel=1e-6) and rows[0].n == 70
    assert 0 < rows[1].value < 3 * 81 and rows[1].subset == "halves of the originals" and rows[1].n == 35


def test_the_command_compares_pictures_and_drawings(tmp_path, monkeypatch):
    model = types.SimpleNamespace(representation=BlurRepresentation())
    monkeypatch.setattr(frechet_distance, "load_model", lambda name, dtype: model)
    monkeypatch.setattr(frechet_distance, "open_generator", lambda name, dtype, seed: Mute())
    write_pictures([tmp_path / "data" / f"{number}.png" for number in range(5)], size=9)
    run = FrechetConfig(model="nano", data=str(tmp_path / "data"), out=str(tmp_path / "out"))
    rows = frechet_distance.run(run)
    assert [row.subset for row in rows] == ["reconstruction", "halves of the originals"]
    # The blur keeps the means that the features are.
    assert rows[0].value == pytest.approx(0, abs=1) and rows[0].measure == "frechet_distance[blur:abc]"
    described = Originals(pictures(4), tuple("abcd"), "identity")
    monkeypatch.setattr(frechet_distance, "open_originals", lambda config, size: described)
    rows = frechet_distance.run(run)
    assert {row.subset for row in rows} == {"reconstruction", "generation", "halves of the originals"}
    assert len(list((tmp_path / "out" / "pictures").glob("*.png"))) == 4
    with pytest.raises(ValueError, match="needed seed 1, got 0"):
        frechet_distance.run(replace(run, seed=1))


def test_pictures_alone_cannot_be_drawn_from(tmp_path):
    write_pictures([tmp_path / "a.png"])
    with pytest.raises(ValueError, match="captions"):
        frechet_distance.open_originals(
            FrechetConfig(model="", data=str(tmp_path), out="", generate=True), size=8
        )


def test_other_weights_than_those_of_fid_are_refused(tmp_path):
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    with pytest.raises(FileNotFoundError, match="left out"):
        inception_features(path)
    path.write_bytes(b"other weights")
    with pytest.raises(ValueError, match="6726825d"):
        inception_features(path)


def test_fid_is_taken_in_the_features_of_the_library(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(features, "INCEPTION_HASH", "9a7a4d4f")
    with pytest.raises(ValueError, match="9a7a4d4f"):
        inception_features(path)
    monkeypatch.setattr(features, "INCEPTION_HASH", "")
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ImportError, match=r"worldnav\[fid\]"):
        inception_features(path)

    class Network(torch.nn.Module):
        def __init__(self, name: str, wanted: list[str], feature_extractor_weights_path: str) -> None:
            super().__init__()
            assert (name, wanted) == ("inception-v3-compat", ["2048"])
            assert feature_extractor_weights_path == str(path)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            assert images.dtype == torch.uint8 and images.shape[1] == 3
            return (images.float().mean(dim=(2, 3)),)

    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Network  # pyright: ignore
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = inception_features(path)
    assert found.measure == "fid"
    torch.testing.assert_close(found.describe(pictures(2)), pictures(2).float().mean(dim=(1, 2)))


def test_squares_are_the_middle_of_pictures(tmp_path):
    picture = np.zeros((4, 10, 3), np.uint8)
    picture[:, 3:7] = 255
    assert (square(picture, size=4) == 255).all()
    write_pictures([tmp_path / "b" / "1.png", tmp_path / "a.jpg"], size=7)
    paths = find_pictures(tmp_path)
    assert [path.name for path in paths] == ["a.jpg", "1.png"]
    assert [batch.shape for batch in read_squares(paths * 2, size=5, at_once=3)] == [
        (3, 5, 5, 3),
        (1, 5, 5, 3),
    ]
    assert spread(range(9), 3) == [0, 4, 8]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no JPEG"):
        find_pictures(tmp_path / "empty")


def coco(folder: Path, **settings: object) -> CocoConfig:
    images = [{"id": n, "file_name": f"COCO_val2014_{n:012}.jpg"} for n in (7, 9, 11)]
    annotations = [
        {"id": 100 + n, "image_id": (7, 9, 11)[n % 3], "caption": f" caption {n}\n"} for n in range(6)
    ]
    path = write_json(folder / "captions_val2014.json", {"images": images, "annotations": annotations})
    write_pictures([folder / "val2014" / each["file_name"] for each in images])
    defaults = {
        "model": "nano",
        "data": str(path),
        "photos": str(folder / "val2014"),
        "out": str(folder / "out"),
        "num_captions": 2,
        "size": 8,
        "encoder": "folder",
    }
    return CocoConfig(**(defaults | settings))  # pyright: ignore


def test_coco_draws_captions_and_is_fid_only_with_inception(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "open_generator", lambda name, dtype, seed: Mute())
    monkeypatch.setattr(coco_fid, "load_representation", lambda folder: BlurRepresentation())
    row, reference = coco_fid.run(coco(tmp_path))
    assert (row.measure, row.n) == ("coco/frechet_distance[blur:abc]", 2) and row.value > 0
    assert (reference.measure, reference.subset, reference.value) == ("coco/reference", "photos", 2)
    assert len(list((tmp_path / "out" / "images").glob("10?.png"))) == 2
    inception = Features("inception", features_of(BlurRepresentation()).describe)
    monkeypatch.setattr(coco_fid, "inception_features", lambda path: inception)
    measures = [each.measure for each in coco_fid.run(coco(tmp_path, inception="weights"))]
    assert measures == ["coco/frechet_distance[blur:abc]", "coco_fid", "coco/reference"]


def test_coco_draws_photos_without_replacement_and_any_one_of_their_captions(tmp_path):
    captions = coco_fid.read_captions(Path(coco(tmp_path).data))
    seen: Counter[int] = Counter()
    for seed in range(300):
        chosen = coco_fid.choose(captions, 2, seed=seed)
        assert len({each.file_name for each in chosen}) == 2
        seen.update(each.number for each in chosen)
    # Each of six captions with the chance of its photo, two thirds, by one half.
    assert sorted(seen) == list(range(100, 106)) and 70 < min(seen.values()) <= max(seen.values()) < 130


def test_photos_are_part_of_the_data_and_missed_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "open_generator", lambda name, dtype, seed: Mute())
    monkeypatch.setattr(coco_fid, "load_representation", lambda folder: BlurRepresentation())
    config = coco(tmp_path, num_captions=3)
    hashes = set()
    for size in (12, 13):
        write_pictures(list((tmp_path / "val2014").glob("*.jpg")), size=size)
        coco_fid.run(config)
        hashes.add(json.loads((tmp_path / "out" / "results.json").read_text())["data_hash"])
    assert len(hashes) == 2
    next((tmp_path / "val2014").glob("*.jpg")).unlink()
    with pytest.raises(FileNotFoundError, match="1 of 3 photos"):
        coco_fid.run(replace(config, out=str(tmp_path / "new")))
    assert not (tmp_path / "new").exists()


def test_coco_needs_features_captions_and_the_form_of_its_file(tmp_path):
    with pytest.raises(ValueError, match="needed features"):
        coco_fid.run(coco(tmp_path, encoder=None))
    with pytest.raises(ValueError, match="needed 4 photos with captions, there are 3; lower num_captions"):
        coco_fid.choose(coco_fid.read_captions(tmp_path / "captions_val2014.json"), 4, seed=0)
    with pytest.raises(ValueError, match="captions_val2014"):
        coco_fid.read_captions(write_json(tmp_path / "a.json", {"images": []}))
    with pytest.raises(ValueError, match="num_captions of at least 2"):
        coco(tmp_path, num_captions=1)
