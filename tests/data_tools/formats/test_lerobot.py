"""LeRobot sets are read: true sets of the writer, and of its making with the columns that others have."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from data_tools.formats.lerobot import LeRobotKeys, read_lerobot
from data_tools.formats.lerobot_layout import FilePlace
from data_tools.formats.lerobot_writer import write_lerobot
from data_tools.planar import Forward, WorldUp
from data_tools.recording import BadImage, EncodedImage, Recording
from data_tools.trajectory import Skipped
from tests.data_tools.formats.lerobot_sets import FPS, MAX_ERROR, all_images, drives, edit_info, error_of

NO_KEYS = LeRobotKeys()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets") / "walks"
    write_lerobot(drives(), root, fps=FPS, robot_type="walker")
    return root


@pytest.fixture
def written(shared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared, tmp_path / "walks"))


def recordings(root: Path, keys: LeRobotKeys = NO_KEYS) -> list[Recording]:
    found = list(read_lerobot(root, keys=keys))
    assert not [each for each in found if isinstance(each, Skipped)]
    return [each for each in found if isinstance(each, Recording)]


def replace_column(root: Path, path: Path, **changed: Any) -> None:
    """Change columns of a Parquet file; __ in a name stands for a dot, None removes it."""
    table = pq.read_table(path)
    for key, values in changed.items():
        name = key.replace("__", ".")
        if name in table.column_names:
            table = table.drop_columns([name])
        if values is not None:
            table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    pq.write_table(table, path)


def test_recordings_are_the_trajectories_that_were_written(written: Path):
    read = recordings(written)
    assert [(each.name, each.place) for each in read] == [
        ("drive0", "map0"),
        ("drive1", "map1"),
        ("drive2", "map2"),
    ]
    for recording, drive in zip(read, drives(), strict=True):
        assert recording.track is not None and drive.poses is not None and recording.faults == ()
        np.testing.assert_array_equal(recording.track.poses, drive.poses.astype(np.float32))
        assert recording.track.times_s is recording.image_times_s
        # Rows hold times in float32; a regular one is known better.
        np.testing.assert_allclose(recording.image_times_s, drive.times_s - 100, rtol=0, atol=1e-12)
        assert error_of(all_images(recording.images), np.asarray(drive.frames)) < MAX_ERROR


def test_sets_of_others_name_their_episodes_by_number(written: Path):
    (written / "meta" / "worldnav.jsonl").unlink()
    assert [(each.name, each.place) for each in recordings(written)][1] == ("walks_episode_000001", "walks")
    (written / "meta" / "worldnav.jsonl").write_text('{"episode_index": 0, "name": "a"}\n')
    with pytest.raises(ValueError, match="line 1: not an episode's name and place"):
        recordings(written)


def test_irregular_times_stay_as_measured(written: Path):
    path = FilePlace().data_path(written)
    times_s = pq.read_table(path)["timestamp"].to_numpy().copy()
    times_s[3] += 0.01
    replace_column(written, path, timestamp=times_s)
    first, second, _ = recordings(written)
    np.testing.assert_array_equal(first.image_times_s, times_s[:7].astype(np.float64))
    np.testing.assert_array_equal(second.image_times_s, np.arange(5) / FPS)
    bad = list(first.images.select([2, 3, 4]))[1]
    assert isinstance(bad, BadImage) and "none within 0.0001 s" in bad.reason


def test_poses_of_six_degrees_of_freedom_become_planar(written: Path):
    path = FilePlace().data_path(written)
    num_rows = pq.read_metadata(path).num_rows
    angles_rad = np.linspace(-3, 3, num_rows)
    # A camera that looks along its z, in a world whose y is up: turned about y, it heads that way from above.
    xyzw = Rotation.from_euler("y", angles_rad[:, None] + np.pi / 2).as_quat()
    positions = np.random.default_rng(0).normal(size=(num_rows, 3))
    wxyz = np.concatenate([np.full((num_rows, 1), 9.0), positions, xyzw[:, [3, 0, 1, 2]]], axis=1)
    names = ["battery", "x", "y", "z", "qw", "qx", "qy", "qz"]
    replace_column(written, path, observation__pose=list(wxyz))
    info = json.loads((written / "meta" / "info.json").read_text())
    feature = {"dtype": "float64", "shape": [8], "names": names}
    edit_info(written, features=info["features"] | {"observation.pose": feature})
    keys = LeRobotKeys(
        pose="observation.pose",
        pose_names=["x", "y", "z", "qx", "qy", "qz", "qw"],
        up=WorldUp.y,
        forward=Forward.z,
    )
    track = recordings(written, keys)[1].track
    assert track is not None
    np.testing.assert_allclose(track.poses[:, :2], positions[7:12, [0, 2]] * [1, -1], atol=1e-12)
    np.testing.assert_allclose(track.poses[:, 2], angles_rad[7:12], atol=1e-9)
    edit_info(written, features=info["features"] | {"observation.pose": feature | {"names": None}})
    by_number = LeRobotKeys(
        pose="observation.pose",
        pose_names=["1", "2", "3", "5", "6", "7", "4"],
        up=WorldUp.y,
        forward=Forward.z,
    )
    again = recordings(written, by_number)[1].track
    assert again is not None
    np.testing.assert_array_equal(again.poses, track.poses)


def test_a_set_without_named_poses_is_plain_video(written: Path):
    features = json.loads((written / "meta" / "info.json").read_text())["features"]
    features["observation.state"]["names"] = ["x.vel", "y.vel", "theta.vel"]
    edit_info(written, features=features)
    assert [each.track for each in recordings(written)] == [None] * 3
    explicit = recordings(written, LeRobotKeys(pose="observation.state"))
    assert all(each.track is not None for each in explicit)


def test_images_may_lie_in_the_rows(written: Path):
    path = FilePlace().data_path(written)
    num_rows = pq.read_metadata(path).num_rows
    cells = []
    for index in range(num_rows):
        buffer = io.BytesIO()
        Image.new("RGB", (4, 3), (index, 7, 9)).save(buffer, format="PNG")
        cells.append({"bytes": buffer.getvalue(), "path": f"frame-{index:06d}.png"})
    replace_column(written, path, observation__image=cells)
    features = json.loads((written / "meta" / "info.json").read_text())["features"]
    edit_info(written, features=features | {"observation.image": {"dtype": "image", "shape": [3, 4, 3]}})
    shutil.rmtree(written / "videos")
    read = recordings(written, LeRobotKeys(camera="observation.image"))
    assert [len(each.images) for each in read] == [7, 5, 11]
    chosen = [image for image in read[1].images.select([0, 4]) if isinstance(image, EncodedImage)]
    assert [image.decode()[0, 0].tolist() for image in chosen] == [[7, 7, 9], [11, 7, 9]]
    assert recordings(written, LeRobotKeys(camera="observation.image"))[0].track is not None


def test_what_is_broken_is_named_and_the_rest_is_read(written: Path):
    data, episodes = FilePlace().data_path(written), FilePlace().episodes_path(written)
    rows = pq.read_table(data)
    pq.write_table(
        rows.filter(np.arange(len(rows)) != 1).filter(rows["episode_index"].to_numpy()[1:] != 1), data
    )
    replace_column(written, episodes, **{"videos/observation__images__front/file_index": [0, 0, 4]})
    first, second, third = read_lerobot(written, keys=NO_KEYS)
    assert isinstance(first, Recording) and first.faults == ("7 frames are announced, 6 are there",)
    np.testing.assert_allclose(first.image_times_s, np.array([0, 2, 3, 4, 5, 6]) / FPS)
    assert isinstance(second, Skipped) and second.reason.endswith("file-000.parquet holds no rows of it")
    assert second.reason.startswith("episode 1: ") and second.folder == data
    assert isinstance(third, Skipped) and "file-004.mp4 is missing" in third.reason


def test_a_broken_file_of_episodes_does_not_hide_the_others(written: Path):
    broken = FilePlace(0, 1).episodes_path(written)
    broken.write_bytes(b"PAR1 no")
    *read, skipped = read_lerobot(written, keys=NO_KEYS)
    assert len(read) == 3 and isinstance(skipped, Skipped) and skipped.folder == broken
    assert "cannot be read: ArrowInvalid" in skipped.reason
    pq.write_table(pa.table({"episode_index": [3]}), broken)
    *_, skipped = read_lerobot(written, keys=NO_KEYS)
    assert isinstance(skipped, Skipped) and "has no column 'data/chunk_index'" in skipped.reason


def test_times_that_are_no_numbers_are_refused(written: Path):
    starts_s = [np.nan, 1e300, 12 * 9 / 35]
    replace_column(
        written,
        FilePlace().episodes_path(written),
        **{"videos/observation__images__front/from_timestamp": starts_s},
    )
    data = FilePlace().data_path(written)
    replace_column(written, data, timestamp=np.where(np.arange(23) == 20, np.nan, np.arange(23) / FPS))
    first, second, third = read_lerobot(written, keys=NO_KEYS)
    assert isinstance(first, Skipped) and "its film begins at nan s" in first.reason
    assert isinstance(second, Recording)
    assert all(isinstance(image, BadImage) for image in second.images.select(range(5)))
    assert isinstance(third, Skipped) and "its timestamps are not all finite" in third.reason


def test_rows_in_disorder_are_refused(written: Path):
    path = FilePlace().data_path(written)
    replace_column(written, path, frame_index=np.roll(pq.read_table(path)["frame_index"].to_numpy(), 1))
    assert all(
        isinstance(each, Skipped) and "not in the order of frame_index" in each.reason
        for each in read_lerobot(written, keys=NO_KEYS)
    )


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"camera": "front"}, r"'front' is none; choose `camera` from \['observation.images.front'\]"),
        ({"camera": "action"}, "'action' is none"),
        ({"pose": "odometry"}, r"'odometry' is no feature of some numbers; .*'observation.state', 'action'"),
        ({"pose": "observation.images.front"}, "is no feature of some numbers"),
        ({"pose": "action"}, r"action gives 4; choose them with `pose_names` from \['dx', 'dy'"),
        ({"pose": "action", "pose_names": ["dx", "dz"]}, "action has no number 'dz'; choose `pose_names`"),
    ],
)
def test_refuses_features_that_do_not_fit(shared: Path, keys: dict[str, Any], complaint: str):
    with pytest.raises(ValueError, match=complaint):
        read_lerobot(shared, keys=LeRobotKeys(**keys))


def test_refuses_sets_without_camera_or_episodes(written: Path):
    shutil.rmtree(written / "meta" / "episodes")
    with pytest.raises(FileNotFoundError, match="get the whole data set"):
        read_lerobot(written, keys=NO_KEYS)
    edit_info(written, features={"action": {"dtype": "float32", "shape": [3]}})
    with pytest.raises(ValueError, match=r"needed a camera, none is called so; choose `camera` from \[\]"):
        read_lerobot(written, keys=NO_KEYS)


def test_without_pyav_the_extra_is_named_at_once(shared: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'worldnav\[video\]'"):
        read_lerobot(shared, keys=NO_KEYS)
