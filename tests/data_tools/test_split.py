import json
from pathlib import Path

import numpy as np
import pytest

from data_tools.fingerprint import fingerprint
from data_tools.formats.nwm import read_names, read_nwm
from data_tools.regions import RegionConfig
from data_tools.split import SplitBy, SplitCommand, make_split
from data_tools.trajectory import Trajectory, read_trajectories, write_trajectory
from data_tools.world_frame import WorldFrame


def along(name: str, *, y_m: float, num_frames: int = 40, has_poses: bool = True) -> Trajectory:
    """A drive of a metre a frame along x."""
    poses = np.column_stack([np.arange(float(num_frames)), np.full(num_frames, y_m), np.zeros(num_frames)])
    return Trajectory(
        name=name,
        place="course",
        frames=np.zeros((num_frames, 2, 3, 3), np.uint8),
        poses=poses if has_poses else None,
        times_s=np.arange(num_frames) * 0.25,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for trajectory in (
        *(along(f"near{index}", y_m=float(index)) for index in range(3)),
        along("far", y_m=100.0),
        along("video", y_m=0.0, has_poses=False),
    ):
        write_trajectory(trajectory, root)
    return root


def names_in(out: Path) -> tuple[list[str], list[str]]:
    return read_names(out / "train" / "traj_names.txt"), read_names(out / "test" / "traj_names.txt")


def test_by_trajectory_names_are_written_and_choose_when_read(data: Path, tmp_path: Path):
    made = make_split(SplitCommand(data=str(data), out=str(tmp_path), seed=2, held_out_fraction=0.5))
    train, test = names_in(tmp_path)
    assert (tuple(train), tuple(test)) == (made.train, made.test)
    assert sorted(train + test) == ["far", "near0", "near1", "near2", "video"]
    read = read_nwm(data, names=test).trajectories
    assert [each.name for each in read] == test
    written = json.loads((tmp_path / "split.json").read_text())
    assert (written["train"], written["test"], written["num_left_out"]) == (train, test, 0)
    provenance = written["provenance"]
    assert provenance["settings"]["by"] == "trajectory" and provenance["settings"]["seed"] == 2
    assert provenance["data_fingerprint"] == fingerprint(read_trajectories(data).trajectories)


def test_by_place_near_drives_stay_together(data: Path, tmp_path: Path):
    command = SplitCommand(data=str(data), out=str(tmp_path), by=SplitBy.place, radius_m=1.5)
    made = make_split(command)
    assert (made.train, made.test) == (("near0", "near1", "near2"), ("far",))
    assert names_in(tmp_path) == (list(made.train), list(made.test))
    written = json.loads((tmp_path / "split.json").read_text())
    assert written["places"] == [["far"], ["near0", "near1", "near2"]]
    assert written["num_left_out"] == 1  # the video is nowhere


def test_by_region_stretches_are_cut_out_and_a_second_run_finds_them(data: Path, tmp_path: Path):
    command = SplitCommand(
        data=str(data),
        out=str(tmp_path),
        by=SplitBy.region,
        frame=WorldFrame.shared,
        held_out_fraction=0.3,
        region=RegionConfig(min_frames=2),
    )
    made = make_split(command)
    train, test = names_in(tmp_path)
    assert (tuple(train), tuple(test)) == (made.train, made.test)
    sides = [read_trajectories(tmp_path / side).trajectories for side in ("train", "test")]
    assert [sorted(each.name for each in side) for side in sides] == [sorted(train), sorted(test)]
    positions = [
        np.concatenate([each.poses[:, :2] for each in side if each.poses is not None]) for side in sides
    ]
    assert np.linalg.norm(positions[0][:, None] - positions[1][None], axis=-1).min() > 2.0
    written = json.loads((tmp_path / "split.json").read_text())
    frames = written["num_frames"]
    assert (frames["train"], frames["test"]) == (len(positions[0]), len(positions[1]))
    assert sum(frames.values()) == 160
    before = (tmp_path / "test" / test[0] / "0.jpg").stat().st_mtime_ns
    assert make_split(command) == made
    assert (tmp_path / "test" / test[0] / "0.jpg").stat().st_mtime_ns == before


def test_refuses_a_folder_with_the_stretches_of_another_split(data: Path, tmp_path: Path):
    write_trajectory(along("near0_0_3", y_m=0.0, num_frames=3), tmp_path / "train")
    command = SplitCommand(
        data=str(data), out=str(tmp_path), by=SplitBy.region, region=RegionConfig(min_frames=2)
    )
    with pytest.raises(FileExistsError, match="1 folders of something else, near0_0_3 the first"):
        make_split(command)


def test_refuses_to_take_another_recording_for_a_stretch(data: Path, tmp_path: Path):
    command = SplitCommand(
        data=str(data), out=str(tmp_path / "a"), by=SplitBy.region, region=RegionConfig(min_frames=2)
    )
    name = make_split(command).test[0]
    write_trajectory(along(name, y_m=5.0, num_frames=3), tmp_path / "b" / "test")
    with pytest.raises(FileExistsError, match=f"{name} is there and holds another recording"):
        make_split(
            SplitCommand(data=str(data), out=str(tmp_path / "b"), by=SplitBy.region, region=command.region)
        )


def test_place_names_are_enough_where_positions_cannot_be_compared(data: Path, tmp_path: Path):
    command = SplitCommand(data=str(data), out=str(tmp_path), by=SplitBy.place, frame=WorldFrame.own)
    with pytest.raises(ValueError, match="all 5 trajectories are of one"):
        make_split(command)
