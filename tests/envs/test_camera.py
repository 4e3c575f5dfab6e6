import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from envs.camera import CameraConfig, camera_errors
from envs.doom_engine import DoomEngine
from envs.level_geometry import walkable_map


@pytest.mark.parametrize("level", ["map01", "e1m5"])
def test_what_is_seen_is_a_function_of_the_pose(level):
    with DoomEngine(level) as engine:
        errors = camera_errors(engine, walkable_map(level), num_walks=10, rng=np.random.default_rng(0))
    assert len(errors) == 80
    assert errors.mean() < 0.5
    # A pose on the very edge of a ledge may be a floor higher half a millimetre away.
    assert np.quantile(errors, 0.98) < 2.0


def test_the_command_writes_its_table_and_fails_beyond_the_bound(tmp_path: Path):
    """Half a millimetre of teleport is seen somewhere, so that nothing passes a bound of 0."""
    command = [
        sys.executable,
        "-m",
        "envs.camera",
        "levels=[map01]",
        "num_walks=3",
        f"out={tmp_path}/table.md",
    ]
    run = subprocess.run([*command, "max_mean_difference=0"], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "differ by more than 0.0 grey levels in map01" in run.stderr
    assert "| map01 | 24 " in (tmp_path / "table.md").read_text()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="unknown level 'e5m1'"):
        CameraConfig(levels=["e5m1"])
    with pytest.raises(ValueError, match="num_walks >= 1, got"):
        CameraConfig(num_walks=0)
    with pytest.raises(ValueError, match="needed a level"):
        CameraConfig(levels=[])
    with pytest.raises(ValueError, match="max_mean_difference >= 0, got nan"):
        CameraConfig(max_mean_difference=float("nan"))
