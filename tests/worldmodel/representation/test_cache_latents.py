"""Latents that the command caches are what pretraining reads, for representations of several kinds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_tools.documents import FrameKey
from data_tools.trajectory import write_trajectory
from tests.data_tools.recordings import texts
from tests.worldmodel.representation.synthetic import TINY, make_trajectory
from tests.worldmodel.representation.test_pixels import make_representation
from tests.worldmodel.representation.test_small_vae import SHAPE
from tests.worldmodel.tiny_run import make_config
from worldmodel.corpus import load_corpora
from worldmodel.model_folder import load_model
from worldmodel.precision import Precision
from worldmodel.pretrain import run
from worldmodel.ranks import Ranks
from worldmodel.representation.cache import CACHE, LatentCache
from worldmodel.representation.cache_latents import CacheConfig
from worldmodel.representation.cache_latents import run as cache
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.normalisation import Normalisation
from worldmodel.representation.open import load_representation
from worldmodel.representation.rae import RaeRepresentation, initialise, with_statistics
from worldmodel.representation.small_vae import SmallVae

LENGTHS = (5, 6, 7, 9, 4, 6, 5, 8)


@pytest.fixture
def recordings(tmp_path) -> Path:
    for index, length in enumerate(LENGTHS):
        trajectory = make_trajectory(f"walk_{index}", length, seed=index)
        write_trajectory(replace(trajectory, texts=texts(length)), tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def no_texts(monkeypatch) -> None:
    """Public text is many files; recordings are enough here."""
    monkeypatch.setattr("worldmodel.corpus.read_texts_of_use", lambda use, folder: ["a wall ahead"] * 3)


def save_small_vae(folder: Path) -> None:
    codec = SmallVae(SHAPE)
    initialise(codec, generator=torch.Generator().manual_seed(0))
    CodecRepresentation(codec, Normalisation(torch.zeros(4, 12), torch.full((4, 12), 0.5))).save(folder)


def cached(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.suffix == ".npy"}


def test_pretraining_finds_what_the_command_cached(recordings, tmp_path, no_texts):
    make_representation().save(tmp_path / "pixels")
    made = cache(CacheConfig(representation=str(tmp_path / "pixels"), data=str(recordings)))
    assert (made.num_frames, made.num_tokens, made.num_channels) == (sum(LENGTHS), 9, 75)
    before = cached(recordings / CACHE)
    assert len(before) == 2  # frames, latents
    representation = load_representation(tmp_path / "pixels")
    for seed in (0, 1):
        config = replace(make_config(tmp_path), data=str(recordings), text="t", heldout_share=0.4, seed=seed)
        for corpus in load_corpora(config, representation):
            assert isinstance(corpus.latents, LatentCache)
            assert corpus.latents.num_frames == sum(one.num_frames for one in corpus.trajectories)
            for index, trajectory in enumerate(corpus.trajectories):
                last = trajectory.num_frames - 1
                frame = torch.from_numpy(np.array(trajectory.frames[last]))[None]
                found = corpus.latents.lookup([FrameKey(index, last)])
                torch.testing.assert_close(found, representation.encode(frame), rtol=2e-3, atol=2e-3)
    assert cached(recordings / CACHE) == before


def test_splits_of_one_data_set_have_identities_of_their_own(recordings, tmp_path, no_texts):
    representation = make_representation()
    identities = set()
    for seed in (0, 1):
        config = replace(make_config(tmp_path), data=str(recordings), text="t", heldout_share=0.4, seed=seed)
        identities |= {corpus.identity for corpus in load_corpora(config, representation)}
    assert len(identities) == 4


def test_a_stopped_caching_goes_on_where_it_was(recordings, tmp_path, monkeypatch):
    make_representation().save(tmp_path / "pixels")
    config = CacheConfig(representation=str(tmp_path / "pixels"), data=str(recordings))
    encoded = []
    encode = CodecRepresentation.encode

    def stop(self: CodecRepresentation, frames: torch.Tensor) -> torch.Tensor:
        if len(encoded) == 3:
            encoded.append(0)
            raise KeyboardInterrupt
        encoded.append(len(frames))
        return encode(self, frames)

    monkeypatch.setattr(CodecRepresentation, "encode", stop)
    with pytest.raises(KeyboardInterrupt):
        cache(config)
    assert json.loads(next((recordings / CACHE).glob("latents-*.json")).read_text()) == {"num_done": 3}
    assert cache(config).num_frames == sum(LENGTHS)
    assert encoded == [*LENGTHS[:3], 0, *LENGTHS[3:]]


@pytest.mark.parametrize("kind", ["vae", "rae"])
def test_what_is_cached_in_bfloat16_is_not_computed_again(kind, recordings, tmp_path):
    folder = tmp_path / kind
    if kind == "vae":
        save_small_vae(folder)
    else:
        untrained = RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(0))
        mean, std = torch.full((4, 64), 0.1), torch.full((4, 64), 0.3)  # neither is exact in bfloat16
        with_statistics(untrained, mean=mean, std=std).save(folder)
    config = CacheConfig(representation=str(folder), data=str(recordings))
    cache(replace(config, precision=Precision.bfloat16))
    before = cached(recordings / CACHE)
    cache(config)
    assert cached(recordings / CACHE) == before


@pytest.mark.parametrize("kind", ["pixels", "vae"])
def test_pretraining_runs_on_it_and_the_model_plans_with_it(kind, recordings, tmp_path, no_texts):
    folder = tmp_path / kind
    if kind == "pixels":
        make_representation().save(folder)
    else:
        save_small_vae(folder)
    config = make_config(tmp_path / "out", num_steps=3)
    config = replace(
        config, data=str(recordings), text="t", representation=str(folder), heldout_share=0.4, vocab_size=300
    )
    run(config, Ranks())
    log = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert len(log) == 3 and all(np.isfinite(record["flow"]) for record in log)
    model = load_model(tmp_path / "out/model")
    representation = load_representation(folder)
    assert model.representation.fingerprint == representation.fingerprint
    frames = torch.from_numpy(make_trajectory("walk", 3, seed=9).frames)
    context = model.encode_context(frames[None, :2])
    imagined = model.rollout(
        context,
        [[["action: dx=+0.300, dy=+0.000, dyaw=+0.000, dt=0.25"]]],
        num_steps=1,
        generator=torch.Generator().manual_seed(0),
    )
    size = representation.image_size
    assert model.decode(imagined[0, 0]).shape == (1, size, size, 3)


def test_pretraining_refuses_a_representation_without_statistics(recordings, tmp_path):
    codec = SmallVae(SHAPE)
    initialise(codec, generator=torch.Generator().manual_seed(0))
    CodecRepresentation(codec, None).save(tmp_path / "vae")
    config = replace(
        make_config(tmp_path / "out"), data=str(recordings), representation=str(tmp_path / "vae")
    )
    with pytest.raises(ValueError, match=r"worldmodel\.representation\.statistics representation="):
        run(config, Ranks())
    assert not (tmp_path / "out").exists()
