import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_tools.fingerprint import fingerprint
from data_tools.motion_statistics import Stillness, measure_motion
from data_tools.statistics import (
    StatisticsCommand,
    describe_counts,
    horizon_table,
    measure_and_write,
    overview_table,
    published_spacing_m,
)
from data_tools.trajectory import Trajectory, read_trajectories, write_trajectory
from tests.data_tools.recordings import drive


def straight(name: str, num_frames: int, *, place: str = "recon") -> Trajectory:
    """Half a metre a step of a quarter of a second."""
    poses = np.zeros((num_frames, 3))
    poses[:, 1] = np.arange(num_frames) * 0.5
    return Trajectory(
        name=name,
        place=place,
        frames=np.zeros((num_frames, 2, 3, 3), np.uint8),
        poses=poses,
        times_s=np.arange(num_frames) * 0.25,
    )


def printed(*tables: object) -> list[str]:
    """What a terminal of 80 columns shows."""
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        for table in tables:
            console.print(table)
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def test_statistics_are_written_with_what_they_were_made_of(tmp_path: Path):
    for name, num_frames in (("a", 9), ("b", 4)):
        write_trajectory(straight(name, num_frames), tmp_path / "set")
    command = StatisticsCommand(
        data=str(tmp_path / "set"), out=str(tmp_path / "out"), horizons_s=[1.0, 2.0, 4.0]
    )
    measured, published_m = measure_and_write(command)
    assert (measured.spacing_m, published_m) == (pytest.approx(0.5), 0.25)
    written = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert written["spacing_m"] == measured.spacing_m
    assert written["published_spacing_m"] == 0.25
    assert [each["num_displacements"] for each in written["horizons"]] == [5, 1, 0]
    assert [each["num_too_short"] for each in written["horizons"]] == [1, 1, 2]
    assert written["horizons"][0]["distance_m"]["mean"] == pytest.approx(2.0)
    assert written["horizons"][2]["distance_m"] is None
    trajectories = read_trajectories(tmp_path / "set").trajectories
    assert written["provenance"]["data_fingerprint"] == fingerprint(trajectories)
    assert written["provenance"]["settings"]["horizons_s"] == [1.0, 2.0, 4.0]


def test_published_spacings_are_those_of_the_folder_or_the_one_place():
    assert published_spacing_m(Path("sets/scand"), [straight("a", 2, place="x")]) == 0.38
    assert published_spacing_m(Path("mine"), [straight("a", 2), straight("b", 2)]) == 0.25
    assert published_spacing_m(Path("mine"), [straight("a", 2), straight("b", 2, place="x")]) is None


def test_tables_fit_a_terminal_and_show_units_and_numbers():
    measured = measure_motion(
        [straight("a", 90), straight("b", 3)], step_s=0.25, horizons_s=[1.0, 100.0], stillness=Stillness()
    )
    lines = printed(overview_table(measured, 0.25), horizon_table(measured))
    assert "spacing: mean distance in 0.25 s [m] 0.5" in lines
    assert "spacing that NWM publishes [m] 0.25" in lines
    assert "frames a second: median, slowest, fastest 4.00, 4.00, 4.00" in lines
    assert "1 s distance [m] 2 0 2 2 2 2 2" in lines
    assert "100 s distance [m] - - - - - - -" in lines
    assert describe_counts(measured.horizons[0]) == (
        "after 1 s: 86 displacements; 1 trajectories too short, 0 frames before gaps"
    )


def test_a_drive_at_200_km_an_hour_fits_too():
    poses = np.column_stack([np.zeros(50), -56.789 * np.arange(50), np.zeros(50)])
    far = Trajectory(
        name="far", place="x", frames=drive(50, seed=0).frames, poses=poses, times_s=np.arange(50.0)
    )
    measured = measure_motion([far], step_s=1.0, horizons_s=[16.0], stillness=Stillness())
    assert not any("…" in line for line in printed(overview_table(measured, None), horizon_table(measured)))


def test_videos_have_no_spacing(tmp_path: Path):
    video = Trajectory(
        name="v", place="x", frames=np.zeros((3, 2, 3, 3), np.uint8), poses=None, times_s=np.arange(3.0)
    )
    write_trajectory(video, tmp_path / "set")
    measured, published_m = measure_and_write(
        StatisticsCommand(data=str(tmp_path / "set"), out=str(tmp_path / "out"))
    )
    assert (measured.spacing_m, published_m) == (None, None)
    assert "trajectories without poses 1" in printed(overview_table(measured, published_m))
