from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_tools.stretches import Stretch, cut, runs
from data_tools.trajectory import Trajectory, read_trajectory, write_trajectory
from tests.data_tools.recordings import drive


def test_runs_are_the_longest_stretches_inside():
    assert runs("a", [True, True, False, True, False, False]) == [Stretch("a", 0, 2), Stretch("a", 3, 4)]
    assert runs("a", [False, True, True]) == [Stretch("a", 1, 3)]
    assert runs("a", [False, False]) == runs("a", []) == []


@pytest.mark.parametrize("are_files", [False, True])
def test_a_stretch_has_the_frames_poses_and_times_of_its_source(tmp_path: Path, are_files: bool):
    rng = np.random.default_rng(0)
    whole = replace(drive(11, seed=3), frames=rng.integers(0, 256, size=(11, 5, 7, 3), dtype=np.uint8))
    if are_files:
        whole = read_trajectory(write_trajectory(whole, tmp_path))
    part = cut(whole, Stretch("drive3", 4, 9))
    assert (part.name, part.place, part.num_frames) == ("drive3_4_9", "room", 5)
    assert part.poses is not None and whole.poses is not None
    np.testing.assert_array_equal(part.poses, whole.poses[4:9])
    np.testing.assert_array_equal(part.times_s, whole.times_s[4:9])
    for index in range(-5, 5):
        np.testing.assert_array_equal(part.frames[index], whole.frames[4 + index % 5])
    with pytest.raises(IndexError):
        part.frames[5]
    read = read_trajectory(write_trajectory(part, tmp_path / "cut"), check_frames=True)
    assert read.texts == part.texts
    if are_files:
        copied, original = (tmp_path / "cut" / "drive3_4_9" / "0.jpg", tmp_path / "drive3" / "4.jpg")
        assert copied.read_bytes() == original.read_bytes()


def test_texts_go_along_if_all_they_are_about_does():
    whole = drive(11, seed=3)  # captions at 1, questions at 2, instructions from 5 to 10 and from 5 to 5
    about = {
        (start, stop): [
            (text.kind.name, text.frame, text.end_frame)
            for text in cut(whole, Stretch("drive3", start, stop)).texts[::2]
        ]
        for start, stop in ((0, 11), (2, 10), (5, 6), (6, 11))
    }
    assert about[2, 10] == [("question", 0, None), ("question", 0, None)]
    assert [text.frame for text in cut(whole, Stretch("drive3", 2, 10)).texts] == [0, 3, 0, 3]
    assert about[5, 6] == [("instruction", 0, 0)]
    assert len(cut(whole, Stretch("drive3", 0, 11)).texts) == len(whole.texts)
    assert about[6, 11] == []


def test_videos_are_cut_too():
    video = drive(7, seed=1, with_poses=False, with_texts=False)
    assert cut(video, Stretch("drive1", 2, 5)).poses is None


@pytest.mark.parametrize(("source", "start", "stop"), [("drive1", 0, 8), ("drive1", 3, 3), ("other", 0, 3)])
def test_refuses_what_is_not_there(source: str, start: int, stop: int):
    whole: Trajectory = drive(7, seed=1)
    with pytest.raises(
        ValueError, match=f"cannot cut frames {start} to {stop - 1} of '{source}'.*has 7 frames"
    ):
        cut(whole, Stretch(source, start, stop))
