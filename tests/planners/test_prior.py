"""Training prior: from recordings of training levels, read back rather than recorded again."""

from pathlib import Path

import numpy as np
import pytest

from envs.level_recorder import RecordConfig
from planners import prior
from planners.prior import PriorConfig, TrainingPrior, describe, training_prior

CONFIG = PriorConfig(levels=["map02"], trajectories_per_level=2, trajectory_frames=14)


def fit(folder: Path) -> TrainingPrior:
    return training_prior(CONFIG, RecordConfig(), horizon=8, folder=folder, num_workers=0)


def test_prior_is_what_robots_do_and_is_not_recorded_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = fit(tmp_path)
    assert 0.0 < fitted.spacing_m < 0.6
    assert "arc" in str(describe(fitted))

    def recorded_again(task: object) -> None:
        raise AssertionError("recorded again")

    monkeypatch.setattr(prior, "record_displacements", recorded_again)
    again = fit(tmp_path)
    np.testing.assert_array_equal(again.prior.mean.numpy(), fitted.prior.mean.numpy())
    assert again.spacing_m == fitted.spacing_m
