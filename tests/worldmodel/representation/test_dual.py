"""Laws of two representations side by side, from their command to a model that plans with them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_tools.documents import FrameKey
from tests.data_tools.recordings import drive
from tests.worldmodel.tiny_run import SHAPE, TEXTS, make_config
from worldmodel.corpus import Corpus
from worldmodel.model_folder import load_model
from worldmodel.pretrain import train
from worldmodel.representation.cache import FrameCache, LatentCache, starts_of
from worldmodel.representation.dual import DualRepresentation, is_dual, load_dual
from worldmodel.representation.open import load_any, load_representation
from worldmodel.representation.pair import PairConfig, pair
from worldmodel.representation.rae import RaeConfig, RaeRepresentation, with_statistics

WIDE = RaeConfig(
    image_size=24,
    patch_size=12,
    hidden_size=128,
    num_layers=1,
    decoder_hidden_size=16,
    decoder_num_layers=1,
    decoder_num_heads=2,
    decoder_intermediate_size=16,
)


def created(config: RaeConfig, seed: int) -> RaeRepresentation:
    untrained = RaeRepresentation.create(config, generator=torch.Generator().manual_seed(seed))
    shape = (config.num_tokens, config.hidden_size)
    return with_statistics(untrained, mean=torch.zeros(shape), std=torch.full(shape, 2.0))


@pytest.fixture
def dual() -> DualRepresentation:
    return DualRepresentation(created(WIDE, 0), created(SHAPE, 1))


def frames(num_frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (num_frames, 20, 30, 3), dtype=torch.uint8, generator=generator)


def test_latents_are_those_of_both_and_frames_those_of_the_second(dual):
    assert (dual.num_tokens, dual.num_context_channels, dual.num_channels) == (4, 128, 64)
    small = dual.generation.encode(frames(3))
    latents = dual.encode(frames(3))
    assert latents.shape == (3, 4, 192)
    torch.testing.assert_close(latents[..., 128:], small)
    assert torch.equal(dual.decode(small), dual.generation.decode(small))
    assert dual.image_size == 16


def test_a_cache_of_frames_gives_the_latents_of_the_frames_themselves(dual, tmp_path):
    trajectories = [replace(drive(count, seed=count), frames=frames(count).numpy()) for count in (5, 3)]
    cached = FrameCache.build(trajectories, tmp_path, image_size=dual.image_size)
    latents = LatentCache.build(dual, cached, tmp_path, identity="dual")
    assert (latents.num_context_channels, latents.num_channels) == (128, 64)
    frame = torch.from_numpy(np.array(trajectories[1].frames[2]))[None]
    found = latents.lookup([FrameKey(1, 2)])
    torch.testing.assert_close(found, dual.encode(frame), atol=5e-3, rtol=2e-3)


def test_the_command_writes_what_is_loaded(tmp_path):
    created(WIDE, 0).save(tmp_path / "wide")
    created(SHAPE, 1).save(tmp_path / "small")
    config = PairConfig(
        understanding=str(tmp_path / "wide"), generation=str(tmp_path / "small"), out=str(tmp_path / "both")
    )
    written = pair(config)
    loaded = load_representation(tmp_path / "both")
    assert is_dual(tmp_path / "both") and not is_dual(tmp_path / "wide")
    assert loaded.fingerprint == written.fingerprint
    assert torch.equal(loaded.encode(frames(2)), written.encode(frames(2)))
    again = PairConfig(understanding=config.out, generation=config.generation, out=str(tmp_path / "again"))
    with pytest.raises(ValueError, match="is a dual representation itself; name one of its two folders"):
        pair(again)
    (tmp_path / "both" / "generation" / "representation.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="generation"):
        load_dual(tmp_path / "both", load_representation)


def test_the_fingerprint_is_that_of_both():
    prints = {
        DualRepresentation(created(SHAPE, first), created(SHAPE, second)).fingerprint
        for first, second in ((0, 1), (1, 0), (0, 2), (2, 1))
    }
    assert len(prints) == 4


def test_unequal_numbers_of_tokens_are_refused():
    nine = RaeConfig(**(vars(WIDE) | {"image_size": 36}))
    with pytest.raises(
        ValueError, match="equally many tokens a frame, got 9 to understand and 4 to generate"
    ):
        DualRepresentation(created(nine, 0), created(SHAPE, 1))


def corpus(seed: int) -> Corpus:
    trajectories = [drive(num_frames, seed=seed + index) for index, num_frames in enumerate((53, 31, 40))]
    starts = starts_of(trajectories)
    drawn = np.random.default_rng(seed).standard_normal((int(starts[-1]), 4, 192)).astype(np.float16)
    return Corpus(
        trajectories, TEXTS, LatentCache(drawn, starts, num_context_channels=128), f"drives from {seed}"
    )


def test_a_model_is_trained_and_loaded_with_both(dual, tmp_path):
    torch.set_num_threads(1)
    config = make_config(tmp_path, num_steps=14, evaluate_every=14, checkpoint_every=14)
    train(config, dual, training=corpus(0), heldout=corpus(1))
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    totals = [line["total"] for line in log]
    assert np.mean(totals[-4:]) < 0.9 * np.mean(totals[:4])
    world_model = load_model(tmp_path / "model")
    assert world_model.transfusion.channels_in == 192
    context = world_model.encode_context(frames(3)[None])
    generator = torch.Generator().manual_seed(0)
    imagined = world_model.rollout(context, [[["turn left"]]], num_steps=1, generator=generator)
    assert imagined.shape == (1, 1, 1, 4, 64)
    assert world_model.encode(frames(2)).shape == (2, 4, 64)
    assert world_model.decode(imagined[0, 0]).shape == (1, 16, 16, 3)


def test_a_folder_in_which_saving_stopped_holds_no_representation(dual, tmp_path, monkeypatch):
    dual.save(tmp_path)

    def stop(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(dual.generation, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        dual.save(tmp_path)
    with pytest.raises(FileNotFoundError, match="representation"):
        load_representation(tmp_path)


def test_a_pair_is_not_written_over_one_of_the_two(dual, tmp_path):
    config = PairConfig(understanding=str(tmp_path), generation="elsewhere", out=f"{tmp_path}/.")
    with pytest.raises(ValueError, match="which is one of the two"):
        pair(config)
    dual.save(tmp_path)
    with pytest.raises(ValueError, match=f"name one of {tmp_path / 'understanding'}"):
        load_any(tmp_path)
