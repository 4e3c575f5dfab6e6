"""Video files: recordings with the poses that lie beside them, and files that are none."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data_tools.formats.video import VideoForm, read_videos
from data_tools.planar import Forward
from data_tools.recording import Recording
from data_tools.trajectory import Skipped
from data_tools.video_streams import Backend
from tests.data_tools.videos import shown_number, write_video

STAMPS_MS = [0, 30, 100, 110, 250]


def only(path: Path, form: VideoForm | None = None) -> Recording:
    (found,) = read_videos(path, form=form or VideoForm())
    assert isinstance(found, Recording), found
    return found


def reason(path: Path) -> str:
    (found,) = read_videos(path)
    assert isinstance(found, Skipped) and found.folder == path, found
    return found.reason


@pytest.mark.parametrize("backend", [*Backend, None])
def test_a_video_without_poses_is_a_recording_without_track(tmp_path, backend):
    write_video(tmp_path / "walks" / "a.mp4", STAMPS_MS)
    found = only(tmp_path / "walks" / "a.mp4", VideoForm(backend=backend, first_frame_s=1000.0))
    assert (found.name, found.place, found.track, found.faults) == ("a", "walks", None, ())
    np.testing.assert_allclose(found.image_times_s, [1000.0, 1000.03, 1000.1, 1000.11, 1000.25], atol=1e-6)
    assert [shown_number(image) for image in found.images.select([0, 2, 4])] == [0, 2, 4]


def test_a_folder_is_read_in_order_and_goes_on_behind_what_is_no_video(tmp_path):
    for name in ("c.webm", "a.MP4", "sub/d.mkv"):
        write_video(tmp_path / name, STAMPS_MS, codec="libvpx" if name == "c.webm" else "libx264")
    (tmp_path / "b.mov").write_text("no video")
    (tmp_path / "notes.md").write_text("notes")
    (tmp_path / "._a.mp4").write_text("left by another system")
    found = list(read_videos(tmp_path, place="town"))
    assert [one.name if isinstance(one, Recording) else one.folder.name for one in found] == [
        "a",
        "b.mov",
        "c",
        "sub_d",
    ]
    assert isinstance(found[1], Skipped) and "b.mov is no video" in found[1].reason
    assert {one.place for one in found if isinstance(one, Recording)} == {"town"}


def test_poses_of_a_csv_keep_their_own_times(tmp_path):
    write_video(tmp_path / "a.mp4", STAMPS_MS)
    (tmp_path / "a.csv").write_text("x,y,yaw,t,v\n1,2,0.5,0.0,3\n1.5,2,nan,0.1,\nbroken\n2,2,0.7,0.2,3\n")
    found = only(tmp_path / "a.mp4")
    assert found.track is not None
    np.testing.assert_array_equal(found.track.times_s, [0.0, 0.1, 0.2])
    np.testing.assert_array_equal(found.track.poses, [[1, 2, 0.5], [1.5, 2, np.nan], [2, 2, 0.7]])
    assert found.faults == (f"{tmp_path / 'a.csv'}: 1 of 4 rows are not 4 numbers: line 4",)


@pytest.mark.parametrize("suffix", [".tum", ".txt"])
def test_poses_in_tums_form_have_axes(tmp_path, suffix):
    write_video(tmp_path / "a.mp4", STAMPS_MS)
    quaternion = Rotation.from_rotvec([0, 0, 0.3]).as_quat()
    row = " ".join(map(str, [5.5, 1, 2, 9, *quaternion]))
    (tmp_path / "a").with_suffix(suffix).write_text(f"# timestamp tx ty tz qx qy qz qw\n{row}\n")
    found = only(tmp_path / "a.mp4", VideoForm(forward=Forward.x))
    assert found.track is not None
    np.testing.assert_array_equal(found.track.times_s, [5.5])
    np.testing.assert_allclose(found.track.poses, [[1, 2, 0.3]])
    assert only(tmp_path / "a.mp4", VideoForm(has_poses=False)).track is None


def test_refuses_poses_that_cannot_be_read(tmp_path):
    write_video(tmp_path / "a.mp4", STAMPS_MS)
    (tmp_path / "a.csv").write_text("t,x,y\n0,1,2\n")
    assert "one column called yaw or yaw_rad; it holds ['t', 'x', 'y']" in reason(tmp_path / "a.mp4")
    (tmp_path / "a.tum").write_text("0 1 2 3 0 0 0 1\n")
    assert "2 pose files beside it (a.csv, a.tum); leave one" in reason(tmp_path / "a.mp4")
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.tum").write_text("a man walks\n")
    assert "a.tum needs rows of 8 numbers; line 1" in reason(tmp_path / "a.mp4")


def test_refuses_folders_without_videos(tmp_path):
    (tmp_path / "a.txt").touch()
    for path in (tmp_path, tmp_path / "a.txt", tmp_path / "a.mp4"):
        with pytest.raises(FileNotFoundError, match="needed a video"):
            next(read_videos(path))
