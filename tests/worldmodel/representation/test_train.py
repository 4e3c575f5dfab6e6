import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException

import worldmodel
from data_tools.config import to_object
from data_tools.trajectory import write_trajectory
from tests.worldmodel.representation.synthetic import TINY, make_frames, make_trajectory
from worldmodel.representation.cache import FrameCache
from worldmodel.representation.masked import MaskedConfig, Views
from worldmodel.representation.quality import measure
from worldmodel.representation.rae import RaeRepresentation
from worldmodel.representation.resize import resize_frames
from worldmodel.representation.stage import StageConfig
from worldmodel.representation.train import (
    DecoderTraining,
    RepresentationConfig,
    draw_pairs,
    reconstruction_loss,
    train,
)
from worldmodel.tensor_file import read_tensors, read_with_note, write_tensors

GOLDEN_LOSSES = {"encoder_cross": 1.03372, "decoder": 0.367657}
"""Loss of the tenth step, single runs; bfloat16 sums differ a little between machines."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    root = tmp_path_factory.mktemp("recordings")
    for index in range(3):
        write_trajectory(make_trajectory(f"walk_{index}", 6 + index, seed=index), root)
    return root


def make_config(recordings, out) -> RepresentationConfig:
    return RepresentationConfig(
        data=[str(recordings)],
        out=str(out),
        shape=TINY,
        masked=MaskedConfig(max_gap=3, mask_share=0.5, decoder_hidden_size=8, decoder_num_heads=2),
        masked_stage=StageConfig(num_steps=10, batch_size=4),
        decoder=DecoderTraining(stage=StageConfig(num_steps=10, batch_size=4)),
    )


def test_ten_steps_reach_the_golden_loss_and_repeat_exactly(recordings, tmp_path):
    first = train(make_config(recordings, tmp_path / "first"))
    second = train(make_config(recordings, tmp_path / "second"))
    assert first.fingerprint == second.fingerprint
    frames = make_frames(2, seed=9)
    latents = first.encode(frames)
    assert torch.equal(first.decode(latents), second.decode(latents))
    losses = {
        name: read_tensors(tmp_path / f"first/{name}.safetensors")["losses"]
        for name in ("encoder_cross", "decoder")
    }
    assert all(len(values) == 10 for values in losses.values())
    assert {name: float(values[-1]) for name, values in losses.items()} == pytest.approx(
        GOLDEN_LOSSES, rel=0.02
    )


def test_latents_of_training_frames_are_standard(recordings, tmp_path):
    representation = train(make_config(recordings, tmp_path))
    frames = FrameCache(*_cached(tmp_path, recordings))
    quality = measure(representation, frames, picture=tmp_path / "picture.png")
    assert quality.latent_deviation == pytest.approx(1.0, abs=0.05)
    assert quality.num_frames == 21 and (tmp_path / "picture.png").exists()


def _cached(out, recordings):
    from worldmodel.representation.train import open_frames

    cache = open_frames([str(recordings)], out / "cache", image_size=32)
    return cache.frames, cache.starts, cache.identity


def test_a_decoder_alone_leaves_all_latents_as_they_were(recordings, tmp_path):
    generator = torch.Generator().manual_seed(5)
    RaeRepresentation.create(TINY, generator=generator).save(tmp_path / "encoder")
    before = RaeRepresentation.load(tmp_path / "encoder")
    after = train(replace(make_config(recordings, tmp_path), encoder=str(tmp_path / "encoder")))
    assert after.fingerprint == before.fingerprint
    latents = before.encode(make_frames(2, seed=6))
    assert not torch.equal(after.decode(latents), before.decode(latents))
    other = replace(TINY, decoder_num_layers=2)
    with pytest.raises(ValueError, match="set `shape` to that"):
        train(replace(make_config(recordings, tmp_path), encoder=str(tmp_path / "encoder"), shape=other))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"masked": MaskedConfig(max_gap=3, mask_share=0.75, decoder_hidden_size=8, decoder_num_heads=2)},
        {"decoder": DecoderTraining(stage=StageConfig(num_steps=10, batch_size=4), noise_tau=0.1)},
    ],
)
def test_a_folder_of_another_training_is_refused(recordings, tmp_path_factory, change):
    out = tmp_path_factory.getbasetemp() / "trained"
    train(make_config(recordings, out))
    with pytest.raises(ValueError, match="Give another output folder"):
        train(replace(make_config(recordings, out), **change))


def test_a_folder_whose_data_or_encoder_changed_is_refused(recordings, tmp_path):
    for seed in (5, 6):
        generator = torch.Generator().manual_seed(seed)
        RaeRepresentation.create(TINY, generator=generator).save(tmp_path / f"encoder_{seed}")
    config = make_config(recordings, tmp_path / "out")
    train(replace(config, encoder=str(tmp_path / "encoder_5")))
    with pytest.raises(ValueError, match="Give another output folder"):
        train(replace(config, encoder=str(tmp_path / "encoder_6")))
    write_trajectory(make_trajectory("walk_0", 6, seed=9), tmp_path / "anew")
    with pytest.raises(ValueError, match="Give another output folder"):
        train(replace(config, encoder=str(tmp_path / "encoder_5"), data=[str(tmp_path / "anew")]))


def test_a_decoder_that_began_as_another_is_not_gone_on_with(recordings, tmp_path):
    """The fingerprint of two representations with one encoder is the same."""
    given = RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(5))
    given.save(tmp_path / "first")
    config = make_config(recordings, tmp_path / "out")
    train(replace(config, encoder=str(tmp_path / "first")))
    given.autoencoder.decoder.decoder_pred.bias.fill_(0.5)
    given.save(tmp_path / "second")
    with pytest.raises(ValueError, match="Give another output folder"):
        train(replace(config, encoder=str(tmp_path / "second")))


def test_an_encoder_of_another_task_is_refused_before_it_is_trained(recordings, tmp_path):
    config = make_config(recordings, tmp_path)
    train(config)
    with pytest.raises(ValueError, match=r"another encoder, encoder_cross\.safetensors"):
        train(replace(config, masked=replace(config.masked, views=Views.single)))
    assert not (tmp_path / "encoder_single.safetensors").exists()


def test_recordings_that_are_trained_on_are_not_held_out(recordings, tmp_path):
    with pytest.raises(ValueError, match="other folders in held_out than in data"):
        replace(make_config(recordings, tmp_path), held_out=[f"{recordings}/../{recordings.name}"])


def test_pairs_are_of_one_trajectory_and_mirrored_together(recordings, tmp_path):
    frames = FrameCache(*_cached(tmp_path, recordings))
    indices, owner = frames.pair_starts(max_gap=3), {}
    for index in range(len(frames.frames)):
        whole = torch.from_numpy(frames.frames[index].copy())
        place = int((frames.starts[1:] <= index).sum())
        owner[whole.numpy().tobytes()] = (place, index, False)
        owner[whole.flip(dims=[1]).numpy().tobytes()] = (place, index, True)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        first, second = draw_pairs(frames, indices, batch=4, max_gap=3, generator=generator)
        for one, other in zip(first, second, strict=True):
            a, b = owner[one.contiguous().numpy().tobytes()], owner[other.contiguous().numpy().tobytes()]
            assert a[0] == b[0] and 1 <= abs(a[1] - b[1]) <= 3 and a[2] == b[2]


def test_reconstruction_loss_by_hand():
    target = torch.zeros(1, 3, 2, 2)
    made = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).expand(1, 3, 2, 2)
    # Pixels: 1/4. Differences to the right: |−1| and 0, mean 1/2; downward the same.
    torch.testing.assert_close(reconstruction_loss(made, target, gradient_weight=2.0), torch.tensor(1.25))


def test_paths_shorter_than_the_gap_are_refused(recordings, tmp_path):
    config = make_config(recordings, tmp_path)
    long = MaskedConfig(max_gap=50)
    with pytest.raises(ValueError, match=r"more than masked\.max_gap = 50"):
        train(RepresentationConfig(data=config.data, out=config.out, shape=TINY, masked=long))


def test_the_command_composes_and_refuses_unknown_keys(recordings, tmp_path):
    with initialize_config_dir(str(Path(worldmodel.__file__).parent / "conf"), version_base=None):
        node = compose("representation", [f"data=[{recordings}]", f"out={tmp_path}", "masked.views=single"])
        config = to_object(node, RepresentationConfig)
        assert config.masked.views.name == "single" and config.shape.num_tokens == 16
        with pytest.raises(ConfigCompositionException, match="learning"):
            compose("representation", ["masked_stage.learning=3"])


def test_resizing_keeps_flat_frames_and_is_done_once():
    flat = torch.full((2, 30, 40, 3), 77, dtype=torch.uint8)
    assert torch.equal(resize_frames(flat, image_size=16), torch.full((2, 16, 16, 3), 77, dtype=torch.uint8))
    small = resize_frames(make_frames(2, seed=1, height=30, width=41), image_size=16)
    assert resize_frames(small, image_size=16) is small


def test_tensors_and_note_come_back_and_a_failed_write_leaves_the_old(tmp_path):
    path = tmp_path / "state.safetensors"
    write_tensors(path, {"one": torch.arange(3)}, note={"step": 4})
    with pytest.raises(TypeError):
        write_tensors(path, {"one": torch.zeros(3)}, note={"step": object()})
    tensors, note = read_with_note(path)
    assert tensors["one"].tolist() == [0, 1, 2] and note == {"step": 4}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.safetensors"]


def test_report_is_json(recordings, tmp_path):
    untrained = RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(0))
    quality = measure(untrained, FrameCache(*_cached(tmp_path, recordings)))
    assert json.loads(json.dumps(asdict(quality)))["mean_absolute_error"] > 1
