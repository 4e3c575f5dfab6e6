import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.formats.nwm import SPACING_M, read_names, read_nwm


def write_set(root: Path, names: list[str]) -> None:
    for name in names:
        (root / name).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (7, 5)).save(root / name / f"{index}.jpg")
        poses = {"position": np.zeros((3, 2)), "yaw": np.zeros(3)}
        (root / name / "traj_data.pkl").write_bytes(pickle.dumps(poses))


def test_a_whole_set_is_read_by_name(tmp_path: Path):
    write_set(tmp_path / "recon", ["b", "a"])
    report = read_nwm(tmp_path / "recon")
    assert [(trajectory.name, trajectory.place) for trajectory in report.trajectories] == [
        ("a", "recon"),
        ("b", "recon"),
    ]
    np.testing.assert_array_equal(report.trajectories[0].times_s, [0.0, 0.25, 0.5])


def test_a_list_of_names_is_read_in_its_order_and_the_missing_are_counted(tmp_path: Path):
    write_set(tmp_path / "recon", ["a", "b", "c"])
    (tmp_path / "traj_names.txt").write_text("c\nmissing\n\na\n")
    report = read_nwm(tmp_path / "recon", names=read_names(tmp_path / "traj_names.txt"), period_s=0.5)
    assert [trajectory.name for trajectory in report.trajectories] == ["c", "a"]
    assert [skipped.folder.name for skipped in report.skipped] == ["missing"]
    np.testing.assert_array_equal(report.trajectories[0].times_s, [0.0, 0.5, 1.0])


@pytest.mark.parametrize("content", ["", "\n", "a\n../../etc\n", "/etc\n"])
def test_refuses_lists_that_leave_the_folder_or_hold_nothing(tmp_path: Path, content: str):
    (tmp_path / "traj_names.txt").write_text(content)
    with pytest.raises(ValueError, match="should hold one folder name a line"):
        read_names(tmp_path / "traj_names.txt")


def test_scores_have_units():
    assert SPACING_M["recon"] == 0.25
    assert all(0.1 < spacing_m < 1.0 for spacing_m in SPACING_M.values())
