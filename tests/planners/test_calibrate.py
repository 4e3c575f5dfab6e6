"""Calibration: a view at the goal costs nothing and is no way off; the cost found parts near from far."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch.nn.functional as F
from torch import Tensor

from envs.level_recorder import RecordConfig
from planners import calibrate
from planners.calibrate import CalibrationConfig, ViewTask, compare_views, stop_cost
from planners.costs import Distance

CONFIG = CalibrationConfig(
    levels=["map01"], trajectories_per_level=2, trajectory_frames=18, goals_per_trajectory=3
)


class Pooled:
    """Encodes a frame as 16 mean colours."""

    def encode(self, frames: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(frames.permute(0, 3, 1, 2).float() / 255, 4)
        return pooled.flatten(2).transpose(1, 2)  # batch token channel


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Pooled:
    pooled = Pooled()
    monkeypatch.setattr(calibrate, "cached_model", lambda name: pooled)
    monkeypatch.setattr(calibrate, "checkpoint_hash", lambda name: "hash")
    return pooled


def test_the_goal_itself_is_near_and_costs_nothing(model: Pooled) -> None:
    task = ViewTask(
        level="map01",
        checkpoint="pooled",
        distance=Distance.squared,
        calibration=replace(CONFIG, trajectories_per_level=1),
        record=RecordConfig(),
    )
    rows = compare_views(task)
    assert len(rows) == 3
    for row in rows:
        assert len(row.costs) == len(row.distances_m) == 18
        assert row.costs[row.goal_frame] == 0.0
        assert row.distances_m[row.goal_frame] == pytest.approx(0.0, abs=1e-6)


def test_no_other_cost_parts_near_from_far_better(model: Pooled, tmp_path: Path) -> None:
    found = stop_cost(
        CONFIG,
        RecordConfig(),
        checkpoint="pooled",
        distance=Distance.squared,
        folder=tmp_path,
        num_workers=0,
    )
    rows = [row for path in tmp_path.glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    costs = np.concatenate([row["costs"] for row in rows])
    is_near = np.concatenate([row["distances_m"] for row in rows]) <= 1.0

    def index(threshold: float) -> float:  # Youden's
        return float((costs < threshold)[is_near].mean() - (costs < threshold)[~is_near].mean())

    assert 0.2 < index(found) == pytest.approx(max(index(cost) for cost in [*costs, np.inf]))
