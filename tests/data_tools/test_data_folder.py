from pathlib import Path

import numpy as np
import pytest

from data_tools.data_folder import open_data
from tests.data_tools.formats.test_nwm import write_set


def test_times_and_names_are_taken_and_the_skipped_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_set(tmp_path / "recon", ["a", "b", "c"])
    (tmp_path / "names.txt").write_text("c\ngone\na\n")
    opened = open_data(tmp_path / "recon", names=tmp_path / "names.txt", period_s=0.5)
    assert [trajectory.name for trajectory in opened] == ["c", "a"]
    np.testing.assert_array_equal(opened[0].times_s, [0.0, 0.5, 1.0])
    said = capsys.readouterr().err
    assert f"skipped {tmp_path / 'recon' / 'gone'}: " in said
    assert "2 trajectories, 1 skipped" in said
    assert len(open_data(tmp_path / "recon", period_s=0.5)) == 3


def test_refuses_a_folder_of_which_nothing_can_be_read(tmp_path: Path):
    write_set(tmp_path / "recon", ["a"])
    with pytest.raises(ValueError, match=r"holds no trajectory that can be read.*period_s"):
        open_data(tmp_path / "recon")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no trajectory that can be read$"):
        open_data(tmp_path / "empty")
