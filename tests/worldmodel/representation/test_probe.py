import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_tools.pose import integrate
from data_tools.trajectory import Trajectory, write_trajectory
from tests.worldmodel.representation.synthetic import TINY, make_trajectory
from worldmodel.representation.masked import to_patches
from worldmodel.representation.probe import (
    ProbeConfig,
    Recording,
    correlations,
    draw_pairs,
    patch_components,
    probe,
)
from worldmodel.representation.rae import RaeRepresentation


def test_correlations_are_products_of_every_two_tokens():
    first = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]]])
    second = torch.tensor([[[5.0, 6.0], [7.0, 8.0], [1.0, 0.0]]])
    expected = torch.tensor([[17.0, 23.0, 1.0, 39.0, 53.0, 3.0, 6.0, 8.0, 0.0]]) / 2
    torch.testing.assert_close(correlations(first, second), expected)


def test_pairs_are_of_one_trajectory_and_carry_its_motion(tmp_path):
    for index in range(3):
        write_trajectory(make_trajectory(f"walk_{index}", 9 + index, seed=index), tmp_path / "data")
    recording = Recording.open([str(tmp_path / "data")], tmp_path / "cache", image_size=32)
    pairs = draw_pairs(recording, 50, max_gap=4, generator=torch.Generator().manual_seed(0))
    gaps = pairs.later - pairs.earlier
    assert gaps.unique().tolist() == [1, 2, 3, 4]
    starts = torch.from_numpy(recording.frames.starts)
    assert bool((pairs.later < starts[pairs.trajectories + 1]).all())
    assert bool((pairs.earlier >= starts[pairs.trajectories]).all())
    expected = torch.stack([0.3 * gaps, 0 * gaps, 0 * gaps], dim=1)
    torch.testing.assert_close(pairs.displacements, expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="more than max_gap = 40"):
        draw_pairs(recording, 5, max_gap=40, generator=torch.Generator().manual_seed(0))


def test_components_of_patches_keep_most_of_the_pixels(tmp_path):
    """As many as there are directions in the frames: nothing is lost but what never varies."""
    write_trajectory(make_trajectory("walk", 12, seed=1), tmp_path / "data")
    frames = Recording.open([str(tmp_path / "data")], tmp_path / "cache", image_size=32).frames
    tokens = patch_components(frames, TINY)(frames.at(torch.arange(12)))
    assert tokens.shape == (12, 4, 64)
    pixels = to_patches(frames.at(torch.arange(12)), patch=16)
    centred = (pixels - pixels.mean(dim=(0, 1))).square().sum()
    torch.testing.assert_close(tokens.square().sum(), centred, rtol=1e-3, atol=0)


def test_probe_compares_encoders_and_refuses_video(tmp_path):
    for part in ("train", "held_out"):
        for index in range(6):
            seed = index + 10 * (part == "train")
            trajectory = make_trajectory(f"walk_{index}", 15, seed=seed)
            steps = np.random.default_rng(seed).normal(size=(15, 3)) * 0.3
            write_trajectory(replace(trajectory, poses=integrate(steps)), tmp_path / part)
    RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(1)).save(tmp_path / "encoder")
    config = ProbeConfig(
        train=[str(tmp_path / "train")],
        held_out=[str(tmp_path / "held_out")],
        encoders={"cross": str(tmp_path / "encoder")},
        out=str(tmp_path / "probe.json"),
        cache=str(tmp_path / "cache"),
        max_gap=3,
        num_train_pairs=200,
        num_held_out_pairs=50,
    )
    readings = probe(config)
    assert set(readings) == {"cross", "untrained", "pixel_components"}
    # Frames of noise tell nothing.
    assert all(max(reading["linear"].r2) < 0.5 for reading in readings.values())
    json.dumps({name: reading["correlation"].rmse for name, reading in readings.items()})

    with pytest.raises(ValueError, match="at least 5 training trajectories"):
        for index in (4, 5):
            shutil.rmtree(tmp_path / "train" / f"walk_{index}")
        probe(config)

    silent = make_trajectory("video", 30, seed=5)
    video = Trajectory(
        name="video", place="nowhere", frames=silent.frames, poses=None, times_s=silent.times_s
    )
    write_trajectory(video, tmp_path / "held_out")
    with pytest.raises(ValueError, match="needed poses; 1 trajectories"):
        probe(config)
