"""Laws of imagined frames: numbers by hand for a model that imagines grey, problems cut by rule."""

import math

import numpy as np
import pytest
import torch

from tests.worldmodel.ablation.pictures import Lossless, drive_with_pictures
from worldmodel.ablation.imagined import cut_problems, measure_actions, measure_next_frame
from worldmodel.ablation.measures import MeasureConfig
from worldmodel.flow import Prediction
from worldmodel.predictor import WorldModel
from worldmodel.transfusion import Transfusion, TransfusionConfig

MEASURE = MeasureConfig(num_problems=5, horizons=[2, 3], num_context=2, num_steps=2, image_size=8)
DRIVES = [drive_with_pictures(num_frames, seed=num_frames) for num_frames in (4, 11, 17)]


def psnr_of(made: np.ndarray, true: np.ndarray) -> float:
    squares = ((made.astype(float) - true.astype(float)) ** 2).reshape(len(true), -1).mean(axis=1)
    return float((10 * np.log10(255**2 / squares)).mean())


@pytest.fixture
def grey(tokenizer, generator) -> WorldModel:
    """A model with an output of zeros: the middle of all levels."""
    config = TransfusionConfig(
        width=48, num_blocks=1, num_heads=3, num_kv_heads=1, text_hidden=40, image_hidden=56
    )
    model = Transfusion(config, vocab_size=tokenizer.vocab_size, latent_channels=Lossless.num_channels)
    return WorldModel(
        model.initialise(generator=generator), tokenizer, Lossless(), prediction=Prediction.latent
    )


def test_problems_are_places_with_room_none_twice_and_get_actions_of_another_drive():
    problems = cut_problems(DRIVES, MEASURE, seed=0)
    assert problems.contexts.shape == (5, 2, 8, 8, 3) and problems.followed.shape == (5, 2, 8, 8, 3)
    assert set(problems.drives) == {1, 2}
    of_drive = list(zip(problems.drives, problems.actions, strict=True))
    for drive, given in zip(problems.drives, problems.shuffled, strict=True):
        assert any(given == each for other, each in of_drive if other != drive)
    ends = []
    for context, followed, following in zip(problems.contexts, problems.followed, problems.next, strict=True):
        (found,) = [
            (index, frame)
            for index, drive in enumerate(DRIVES)
            for frame in range(drive.num_frames)
            if np.array_equal(drive.frames[frame], context[-1].numpy())
        ]
        index, frame = found
        frames = DRIVES[index].frames
        assert np.array_equal(frames[frame - 1], context[0].numpy())
        assert np.array_equal(frames[frame + 1], following.numpy())
        for horizon, each in zip((2, 3), followed, strict=True):
            assert np.array_equal(frames[frame + horizon], each.numpy())
        ends.append(found)
    assert len(set(ends)) == 5
    assert cut_problems(DRIVES, MEASURE, seed=1).actions != problems.actions


def test_too_short_drives_are_refused():
    with pytest.raises(ValueError, match="1 frames before and 3 after them"):
        cut_problems([drive_with_pictures(5, seed=1)], MEASURE, seed=0)


def test_measures_of_a_model_that_imagines_grey_by_hand(grey):
    problems = cut_problems(DRIVES, MEASURE, seed=0)
    found = measure_actions(grey, problems, MEASURE, seed=0)
    true = problems.followed.flatten(0, 1).numpy()
    last = problems.contexts[:, -1].repeat_interleave(2, dim=0).numpy()
    middle = np.full_like(true, 128)
    assert found["image/psnr_db"] == pytest.approx(psnr_of(middle, true), abs=1e-4)
    assert found["image/psnr_sampled_db"] == pytest.approx(psnr_of(middle, true), abs=1e-4)
    assert found["image/psnr_copy_db"] == pytest.approx(psnr_of(last, true), abs=1e-4)
    assert found["image/psnr_reconstruction_db"] == pytest.approx(10 * math.log10(255**2 / 1e-3), abs=1e-4)
    ratio = ((128.0 - true) ** 2).mean() / ((last.astype(float) - true) ** 2).mean()
    assert found["image/error_of_copy"] == pytest.approx(ratio, rel=1e-4)
    assert found["image/shuffled"] == found["latent/shuffled"] == 1.0
    latents, copied = (Lossless().encode(torch.from_numpy(each)) for each in (true, last))
    expected = (latents.square().mean() / (latents - copied).square().mean()).item()
    assert found["latent/error_of_copy"] == pytest.approx(expected, rel=1e-4)


def test_the_next_frame_needs_no_action(grey, generator):
    problems = cut_problems(DRIVES, MEASURE, seed=0)
    found = measure_next_frame(grey, problems, MEASURE, seed=0)
    true = problems.next.numpy()
    assert found["next/psnr_db"] == pytest.approx(psnr_of(np.full_like(true, 128), true), abs=1e-4)
    with torch.no_grad():
        grey.transfusion.latent_output.weight.normal_(0, 0.3, generator=generator)
    moved = measure_next_frame(grey, problems, MEASURE, seed=0)
    assert moved["next/psnr_db"] != found["next/psnr_db"]
    problems.actions[:] = problems.shuffled
    assert measure_next_frame(grey, problems, MEASURE, seed=0) == moved
