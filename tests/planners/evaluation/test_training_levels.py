"""Seen means trained on, unseen means not."""

import json
from pathlib import Path

import pytest

from planners.evaluation.training_levels import check_levels


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    record = dict(
        places=["map02", "map03"],
        num_trajectories=2,
        num_frames=20,
        hours_recorded=0.1,
        num_steps=3,
        tokens={"text": 5},
        training_s=1.0,
        seed=0,
        hardware="",
        commit=None,
        versions={},
        heldout={},
    )
    (tmp_path / "training.json").write_text(json.dumps(record))
    (tmp_path / "model.json").write_text("{}")
    return str(tmp_path)


def test_levels_that_agree_with_the_record_pass(checkpoint):
    check_levels(checkpoint, seen={"seen_levels": ["map03"]}, unseen=["map01"])
    check_levels(None, seen={"seen_levels": ["map05"]}, unseen=["map03"])


def test_a_training_level_may_not_be_called_unseen(checkpoint):
    with pytest.raises(ValueError, match="unseen_levels names map03, which"):
        check_levels(checkpoint, seen={"seen_levels": ["map02"]}, unseen=["map01", "map03"])


def test_a_level_without_training_frames_may_not_be_called_seen(checkpoint):
    with pytest.raises(ValueError, match="seen_levels names map07, which"):
        check_levels(checkpoint, seen={"seen_levels": ["map02", "map07"]}, unseen=["map01"])


def test_what_is_fitted_needs_training_levels_too(checkpoint):
    with pytest.raises(ValueError, match=r"prior\.levels names map09, which.*set prior\.levels to some"):
        check_levels(checkpoint, seen={"seen_levels": ["map02"], "prior.levels": ["map09"]}, unseen=[])
