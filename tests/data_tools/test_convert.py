"""Conversion: what comes out is what went in, every lost frame is counted, and a stopped run goes on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools import convert as converting
from data_tools.alignment import AlignmentConfig, Reason
from data_tools.convert import STATE, ConvertConfig, convert
from data_tools.image_writing import ImageConfig
from data_tools.pose_file import write_poses
from data_tools.sources import SourceKind
from data_tools.trajectory import read_trajectories


def write_drive(folder: Path, *, num_frames: int, size: tuple[int, int] = (16, 12)) -> None:
    """A robot that goes straight, a metre a second, four frames a second; frames are noise, so all differ."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(num_frames)
    for index in range(num_frames):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.jpg")
    write_poses(np.column_stack([np.arange(num_frames) * 0.25, np.zeros((num_frames, 2))]), folder)


def make_config(tmp_path: Path, **changes) -> ConvertConfig:
    settings = {
        "source": SourceKind.nwm,
        "data": str(tmp_path / "set"),
        "out": str(tmp_path / "out"),
        "alignment": AlignmentConfig(min_frames=4),
    }
    return ConvertConfig(**(settings | changes))


@pytest.fixture
def source(tmp_path) -> Path:
    write_drive(tmp_path / "set" / "first", num_frames=9)
    write_drive(tmp_path / "set" / "second", num_frames=6)
    return tmp_path / "set"


def test_images_are_kept_byte_for_byte_and_poses_exactly(tmp_path, source):
    done = convert(make_config(tmp_path))
    first, second = read_trajectories(tmp_path / "out").trajectories
    assert (first.name, first.num_frames, second.num_frames, first.place) == ("first_000", 9, 6, "set")
    assert first.poses is not None
    np.testing.assert_array_equal(first.poses[:, 0], np.arange(9) * 0.25)
    for index in range(9):
        assert (tmp_path / "out/first_000" / f"{index}.jpg").read_bytes() == (
            source / "first" / f"{index}.jpg"
        ).read_bytes()
    assert [record.num_frames for record in done.records] == [9, 6] and done.num_found_done == 0


def test_frames_are_those_of_the_period_and_of_the_size(tmp_path, source):
    config = make_config(
        tmp_path,
        alignment=AlignmentConfig(period_s=0.5, min_frames=3),
        images=ImageConfig(size=[8, 8], threads=3),
    )
    convert(config)
    first = read_trajectories(tmp_path / "out", check_frames=True).trajectories[0]
    assert first.times_s.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0] and first.frames[4].shape == (8, 8, 3)
    middle = np.array(Image.open(source / "first/8.jpg"))[:, 2:14]  # cut to a square about the middle
    assert np.abs(first.frames[4].mean() - middle.mean()) < 6


def test_an_unreadable_image_cuts_a_trajectory_in_two_and_is_named(tmp_path, source):
    (source / "first" / "4.jpg").write_bytes(b"\xff\xd8\xff broken")
    (record, _) = convert(make_config(tmp_path)).records
    assert record.trajectories == ("first_000", "first_001")
    assert [(cut.reason, cut.num_frames) for cut in record.cuts] == [(Reason.bad_image, 1)]
    assert "4.jpg" in record.faults[0]
    second = read_trajectories(tmp_path / "out").trajectories[1]
    assert second.times_s.tolist() == [1.25, 1.5, 1.75, 2.0] and second.poses is not None
    assert second.frames[0].tolist() == np.array(Image.open(source / "first/5.jpg")).tolist()


def test_every_frame_is_kept_or_counted(tmp_path, source):
    (source / "first" / "2.jpg").write_bytes(b"no image")
    poses = np.column_stack([np.arange(9) * 0.25, np.zeros((9, 2))])
    poses[5:, 1] = 50.0
    write_poses(poses, source / "first")
    (record, _) = convert(make_config(tmp_path, alignment=AlignmentConfig(min_frames=3))).records
    lost = {cut.reason: cut.num_frames for cut in record.cuts}
    # Frames 0, 1 (too short), 2 (bad), 3, 4 (too short), a jump, 5 to 8 (kept).
    assert lost == {Reason.bad_image: 1, Reason.short: 2, Reason.jump: 0}
    assert record.num_frames == 4 and sum(cut.num_frames for cut in record.cuts) == 5


def test_a_stopped_run_goes_on_and_ends_as_an_unbroken_one(tmp_path, source, monkeypatch):
    unbroken = make_config(tmp_path, out=str(tmp_path / "unbroken"))
    convert(unbroken)
    config, write, calls = make_config(tmp_path), converting.write_trajectory, []

    def stops(trajectory, root):
        calls.append(trajectory.name)
        write(trajectory, root)
        if trajectory.name.startswith("second"):
            raise KeyboardInterrupt  # after the trajectory, before its record

    monkeypatch.setattr(converting, "write_trajectory", stops)
    with pytest.raises(KeyboardInterrupt):
        convert(config)
    monkeypatch.setattr(converting, "write_trajectory", write)
    done = convert(config)
    assert done.num_found_done == 1 and calls == ["first_000", "second_000"]
    files = {
        name: {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*"))
            if path.is_file() and path.name not in ("config.json", "settings.json")
        }
        for name in ("unbroken", "out")
    }
    assert files["unbroken"] == files["out"]


def test_a_recording_slower_than_the_period_is_skipped_with_the_remedy(tmp_path, source):
    done = convert(make_config(tmp_path, alignment=AlignmentConfig(period_s=0.1)))
    assert done.records == () and "set alignment.period_s=0.25" in done.skipped[0].reason
    assert not list((tmp_path / "out").glob("first*"))


def test_a_folder_of_something_else_is_left_alone(tmp_path, source):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something that no conversion has made"):
        convert(make_config(tmp_path))
    shutil.rmtree(tmp_path / "out")
    convert(make_config(tmp_path))
    with pytest.raises(ValueError, match=r"other settings \(alignment\)"):
        convert(make_config(tmp_path, alignment=AlignmentConfig(min_frames=5)))


def test_what_cannot_be_opened_is_listed(tmp_path, source):
    (source / "first" / "3.jpg").unlink()
    done = convert(make_config(tmp_path))
    assert [record.name for record in done.records] == ["second"]
    assert done.skipped[0].folder.name == "first" and "3.jpg" in done.skipped[0].reason
    page = (tmp_path / "out/quality.html").read_text()
    assert "3.jpg" in page and "second" in page


def test_settings_are_written_beside_the_results(tmp_path, source):
    convert(make_config(tmp_path))
    about = json.loads((tmp_path / "out/config.json").read_text())
    assert about["config"]["alignment"]["min_frames"] == 4 and "python" in about["versions"]
    assert (tmp_path / "out" / STATE / "first.record.json").exists()
