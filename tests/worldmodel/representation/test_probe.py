import json

import pytest
import torch

from data_tools.trajectory import Trajectory, write_trajectory
from tests.worldmodel.representation.synthetic import TINY, make_trajectory
from worldmodel.representation.probe import (
    ProbeConfig,
    fit_and_score,
    principal_components,
    probe,
    with_products,
)
from worldmodel.representation.rae import RaeRepresentation


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_linear_map_is_read_exactly_and_noise_not_at_all():
    features, test_features, weight = normal(900, 5, seed=0), normal(300, 5, seed=1), normal(5, 3, seed=2)
    exact = fit_and_score(features, features @ weight + 2, test_features, test_features @ weight + 2)
    assert exact.mean_r2 > 0.999 and max(exact.rmse) < 0.05
    noise = fit_and_score(features, normal(900, 3, seed=3), test_features, normal(300, 3, seed=4))
    assert abs(noise.mean_r2) < 0.05


def test_products_read_what_a_linear_reading_cannot():
    first, second = normal(2000, 3, seed=5), normal(2000, 3, seed=6)
    targets = first * second
    linear = torch.cat([first, second], dim=1)
    assert fit_and_score(linear[:1500], targets[:1500], linear[1500:], targets[1500:]).mean_r2 < 0.1
    both = with_products(first, second)
    assert both.shape == (2000, 3 + 3 + 9)
    assert fit_and_score(both[:1500], targets[:1500], both[1500:], targets[1500:]).mean_r2 > 0.99


@pytest.mark.parametrize("num_frames", [40, 7])
def test_components_are_uncorrelated_and_of_unit_deviation(num_frames):
    """With more frames than features, and with fewer."""
    values = normal(num_frames, 11, seed=7) * torch.arange(1, 12)
    mean, axes = principal_components(values, count=3)
    made = (values - mean) @ axes
    torch.testing.assert_close(made.T @ made / num_frames, torch.eye(3), atol=1e-4, rtol=1e-4)


def test_probe_compares_encoders_and_refuses_video(tmp_path):
    for part in ("train", "held_out"):
        for index in range(2):
            trajectory = make_trajectory(f"walk_{index}", 30, seed=index + 10 * (part == "train"))
            write_trajectory(trajectory, tmp_path / part)
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
        num_components=4,
    )
    readings = probe(config)
    assert set(readings) == {"cross", "untrained", "pixel_components"}
    # Frames of noise tell nothing; dy and dyaw are always 0.
    assert all(reading["linear"].r2[0] < 0.5 for reading in readings.values())
    json.dumps({name: reading["bilinear"].rmse for name, reading in readings.items()})

    silent = make_trajectory("video", 30, seed=5)
    video = Trajectory(
        name="video", place="nowhere", frames=silent.frames, poses=None, times_s=silent.times_s
    )
    write_trajectory(video, tmp_path / "held_out")
    with pytest.raises(ValueError, match="needed poses; 1 trajectories"):
        probe(config)
