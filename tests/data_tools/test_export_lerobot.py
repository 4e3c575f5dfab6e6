"""The export command: a folder of trajectories becomes a LeRobot set that reads back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_tools.export_lerobot import ExportConfig, mean_rate, retimed, run
from data_tools.formats.lerobot import LeRobotKeys, read_lerobot
from data_tools.recording import Recording
from data_tools.trajectory import write_trajectory
from tests.data_tools.formats.lerobot_sets import FPS, drive, drives


def test_a_folder_becomes_a_set_at_its_own_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for each in drives():
        write_trajectory(each, tmp_path / "data")
    (tmp_path / "data" / "empty").mkdir()
    written = run(ExportConfig(data=str(tmp_path / "data"), out=str(tmp_path / "out"), task="explore"))
    assert (written.num_episodes, written.num_frames) == (3, 23)
    assert "skipped" in capsys.readouterr().err
    read = [
        each for each in read_lerobot(tmp_path / "out", keys=LeRobotKeys()) if isinstance(each, Recording)
    ]
    assert [each.name for each in read] == ["drive0", "drive1", "drive2"]
    np.testing.assert_allclose(read[2].image_times_s, np.arange(11) / FPS, rtol=0, atol=1e-9)


def test_refuses_folders_and_rates_that_say_nothing(tmp_path: Path):
    (tmp_path / "data" / "empty").mkdir(parents=True)
    with pytest.raises(ValueError, match="no trajectory that can be read; 1 skipped"):
        run(ExportConfig(data=str(tmp_path / "data"), out=str(tmp_path / "out")))
    with pytest.raises(ValueError, match="one frame and thus no rate; say it with `fps`"):
        mean_rate(drive(1, seed=0, texts=()))


def test_times_of_a_camera_are_made_even_where_asked_and_no_frame_moves_far(tmp_path: Path):
    whole = drive(11, seed=0, texts=())
    jitter_s = 0.3 / FPS * np.array([0, 1, -1, 1, 0, 0, -1, 0, 1, -1, 0])
    shaken = replace(whole, times_s=whole.times_s + jitter_s)
    write_trajectory(shaken, tmp_path / "data")
    config = ExportConfig(data=str(tmp_path / "data"), out=str(tmp_path / "out"), fps=FPS)
    with pytest.raises(ValueError, match="from its time"):
        run(config)
    run(replace(config, retime=True))
    (read,) = read_lerobot(tmp_path / "out", keys=LeRobotKeys())
    assert isinstance(read, Recording) and read.track is not None and shaken.poses is not None
    np.testing.assert_allclose(read.image_times_s, np.arange(11) / FPS, rtol=0, atol=1e-9)
    np.testing.assert_allclose(read.track.poses, shaken.poses, atol=1e-5)
    with pytest.raises(ValueError, match="away from its time"):
        retimed(shaken, fps=1.2 * FPS)
