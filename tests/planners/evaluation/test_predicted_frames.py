"""Predicted frames meet the true frame of their time; what leads elsewhere or says nothing is named."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.trajectory import Trajectory, read_trajectory
from planners.evaluation.predicted_frames import (
    BEST_PSNR_DB,
    COPIED,
    FrameMetrics,
    FrameNames,
    Psnr,
    TruthSize,
    read_manifest,
    score_frames,
)
from planners.evaluation.score_rows import Truth
from tests.planners.evaluation.recordings import record
from tests.planners.evaluation.rows import PROVENANCE


@pytest.fixture
def drive(tmp_path: Path) -> Trajectory:
    record(tmp_path / "data")
    return read_trajectory(tmp_path / "data" / "drive")


def score(root: Path, drive: Trajectory, **settings):
    truth = Truth(
        trajectories={"drive": drive}, data_set="yard", spacing_m=None, unreadable={"torn": "no info"}
    )
    given = {"metrics": Psnr(), "method": "theirs", **settings}
    return score_frames(root, truth, PROVENANCE, **given)


def write_window(
    root: Path, window: str, frames: Mapping[str, np.ndarray], *, frame: int = 3, name="drive"
) -> None:
    (root / window).mkdir(parents=True)
    for stem, content in frames.items():
        Image.fromarray(content).save(root / window / f"{stem}.png")
    with (root / "manifest.jsonl").open("a") as file:
        file.write(json.dumps({"window": window, "trajectory": name, "frame": frame}) + "\n")


def test_psnr_by_hand():
    black = np.zeros((2, 3, 3), dtype=np.uint8)
    assert Psnr().measure(black, black) == {"psnr_db": BEST_PSNR_DB}
    assert Psnr().measure(black, black + np.uint8(255)) == {"psnr_db": 0.0}
    other = black.copy()
    other[0, 0, 0] = 90
    assert Psnr().measure(black, other)["psnr_db"] == pytest.approx(10 * math.log10(255**2 / (90**2 / 18)))
    assert isinstance(Psnr(), FrameMetrics)


def test_frames_meet_the_truth_of_their_step(tmp_path: Path, drive: Trajectory):
    write_window(tmp_path / "out", "a", {"4": drive.frames[7], "8": drive.frames[11] + np.uint8(5)})
    found = score(tmp_path / "out", drive)
    assert found.faults == ()
    assert [(row.method, row.num_steps, row.ahead_s) for row in found.rows] == [
        ("theirs", 4, 1.0),
        (COPIED, 4, 1.0),
        ("theirs", 8, 2.0),
        (COPIED, 8, 2.0),
    ]
    numbers = [row.metrics[0].value for row in found.rows]
    assert numbers[0] == BEST_PSNR_DB and numbers[2] == pytest.approx(20 * math.log10(255 / 5))
    expected = Psnr().measure(drive.frames[3], drive.frames[7])["psnr_db"]
    assert numbers[1] == expected < 40 and found.rows[0].metrics[0].name == "psnr_db"


def test_names_may_be_seconds(tmp_path: Path, drive: Trajectory):
    write_window(
        tmp_path / "out", "a", {"1": drive.frames[7], "0.5": drive.frames[5], "1.1": drive.frames[7]}
    )
    found = score(tmp_path / "out", drive, names=FrameNames.seconds)
    assert [(row.num_steps, row.metrics[0].value) for row in found.rows[::2]] == [(2, 100.0), (4, 100.0)]
    assert found.faults == (
        "window a, 1.1.png: no true frame is 1.1 s after frame 3; the nearest is 0.1 s off",
    )
    as_steps = score(tmp_path / "out", drive)
    assert any("0.5 is no whole number of steps; are names seconds" in fault for fault in as_steps.faults)


def test_bad_parts_are_named_and_the_rest_is_scored(tmp_path: Path, drive: Trajectory):
    root = tmp_path / "out"
    write_window(root, "good", {"1": drive.frames[4]})
    write_window(root, "late", {"1": drive.frames[4]}, frame=19)
    write_window(root, "beyond", {"1": drive.frames[4]}, frame=20)
    write_window(root, "lost", {"1": drive.frames[4]}, name="nowhere")
    write_window(root, "torn", {"1": drive.frames[4]}, name="torn")
    write_window(root, "empty", {})
    write_window(root, "named", {"goal": drive.frames[4], "0": drive.frames[3], "2": drive.frames[5]})
    (root / "named" / "3.png").write_bytes(b"no picture")
    found = score(root, drive)
    assert {(row.window, row.num_steps) for row in found.rows} == {("good", 1), ("named", 2)}
    for sentence, fault in zip(
        (
            "window late, 1.png: 1 steps after frame 19 is outside; the last frame is 19",
            "window beyond, 1.png: it starts at frame 20; the trajectory's last is 19",
            "window lost: trajectory 'nowhere': the truth has none of that name",
            "window torn: trajectory 'torn': no info",
            "window empty: it has no frames",
            "window named, 0.png: its name is no number above 0",
            "window named, goal.png: its name is no number above 0",
            "window named, 3.png: ",
        ),
        found.faults,
        strict=True,
    ):
        assert fault.startswith(sentence)


def test_windows_cannot_lead_out_of_the_folder(tmp_path: Path, drive: Trajectory):
    root = tmp_path / "out"
    write_window(root, "a", {"1": drive.frames[4]})
    write_window(tmp_path / "secret", "b", {"1": drive.frames[4]})
    (root / "link").symlink_to(tmp_path / "secret" / "b")
    (root / "a" / "2.png").symlink_to(tmp_path / "secret" / "b" / "1.png")
    with (root / "manifest.jsonl").open("a") as file:
        for window in ("../secret/b", "/etc", "..", ".a", "a", "link"):
            file.write(json.dumps({"window": window, "trajectory": "drive", "frame": 3}) + "\n")
        file.write('{"window": "c", "trajectory": 3}\n[1]\nno json\n\n')
    wanted, faults = read_manifest(root)
    assert [each.window for each in wanted] == ["a", "link"] and len(faults) == 8
    assert "manifest.jsonl, line 2: needed a window" in faults[0]
    found = score(root, drive)
    assert [(row.window, row.num_steps) for row in found.rows] == [("a", 1), ("a", 1)]
    assert found.faults[-1] == "window link: it has no folder of frames"


def test_true_frames_come_to_the_predicted_size(tmp_path: Path, drive: Trajectory):
    seen: list[np.ndarray] = []

    class Recorded:
        def measure(self, predicted: np.ndarray, true: np.ndarray) -> Mapping[str, float]:
            seen.append(true)
            return {"nothing": 0.0}

    square = np.array(
        Image.fromarray(drive.frames[4]).crop((4, 0, 28, 24)).resize((12, 12), Image.Resampling.BICUBIC)
    )
    write_window(tmp_path / "out", "a", {"1": square})
    score(tmp_path / "out", drive, metrics=Recorded())
    np.testing.assert_array_equal(seen[0], square)  # 32 x 24 cut to 24 x 24 in its middle
    score(tmp_path / "out", drive, metrics=Recorded(), truth_size=TruthSize.nwm)
    # 32 x 24 is 4:3 already: nothing is cut, and the whole width is pressed into the square.
    whole = np.array(Image.fromarray(drive.frames[4]).resize((12, 12), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(seen[2], whole)
    refused = score(tmp_path / "out", drive, truth_size=TruthSize.same)
    assert refused.rows == () and "is 12 x 12, the true one 32 x 24" in refused.faults[0]


def test_a_metric_that_is_not_finite_is_named(tmp_path: Path, drive: Trajectory):
    class Broken:
        def measure(self, predicted: np.ndarray, true: np.ndarray) -> Mapping[str, float]:
            return {"lpips": math.nan}

    write_window(tmp_path / "out", "a", {"1": drive.frames[4]})
    found = score(tmp_path / "out", drive, metrics=Broken())
    assert found.rows == () and found.faults == ("window a, 1.png: lpips is not finite",)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path, drive: Trajectory):
    with pytest.raises(FileNotFoundError, match=r"manifest\.jsonl is missing; it says of which trajectory"):
        score(tmp_path, drive)
