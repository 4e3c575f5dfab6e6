"""The command: from files of others to rows and tables beside published ones, and what was not scored."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_tools.trajectory import read_trajectory
from planners.evaluation.compare import CompareConfig, compare, read_rows
from planners.evaluation.predicted_frames import FrameNames, FrameRow
from planners.evaluation.records import from_table
from planners.evaluation.score import ScoreConfig, read_windows, score
from tests.planners.evaluation.recordings import SPACING_M, displacements, record
from tests.planners.evaluation.test_planned_paths import write


def plans(
    method: str, frames: list[int], *, off_m: float, num_steps: int = 8, drive: str = "drive0"
) -> list[dict]:
    true = displacements(29, seed=int(drive[-1]))
    return [
        {
            "trajectory": drive,
            "frame": frame,
            "step": step,
            "dx": true[frame + step - 1, 0] + off_m,
            "dy": true[frame + step - 1, 1],
            "dyaw": true[frame + step - 1, 2],
            "method": method,
        }
        for frame in frames
        for step in range(1, num_steps + 1)
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for seed in range(3):
        record(tmp_path / "recon", f"drive{seed}", num_frames=30, seed=seed)
    return tmp_path / "recon"


def test_two_methods_at_two_horizons(tmp_path: Path, data: Path):
    near = [
        row
        for drive in ("drive0", "drive1", "drive2")
        for method, off_m in (("good", 0.0), ("poor", 0.2))
        for row in plans(method, [3, 7], off_m=off_m, drive=drive)
    ]
    far = plans("good", [3], off_m=0.0, num_steps=16) + plans("poor", [3], off_m=0.2, num_steps=16)[:-1]
    write(tmp_path / "plans" / "near.parquet", near)
    write(tmp_path / "plans" / "far.jsonl", far)
    found = score(
        ScoreConfig(
            planned=str(tmp_path / "plans"), truth=str(data), out=str(tmp_path / "out"), num_context=4
        )
    )
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    first, second, third = summary["results"]
    assert (first["num_steps"], first["num_problems"], first["num_failed"]) == (8, 6, 0)
    assert first["methods"]["good"]["ate_m"]["mean"] == pytest.approx(0.0, abs=1e-12)
    assert first["methods"]["poor"]["rpe_m"]["mean"] == pytest.approx(0.2, rel=0.2)
    assert first["spacing_m"] == pytest.approx(SPACING_M)
    assert first["methods"]["good"]["within_radius"]["mean"] == 1.0
    assert list(first["methods"]) == ["good", "poor", "stand_still", "straight_ahead"]
    # The poor one's far plan has 15 steps: another horizon, where the good one has no plan, and the reverse.
    assert (second["num_steps"], third["num_steps"]) == (15, 16)
    assert found.fault_counts == {"missing": 2} and summary["fault_counts"] == {"missing": 2}
    with (tmp_path / "out" / "planning_1.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["method"] for row in written[:2]] == ["good", "poor"]
    assert written[0]["ATE [m]"] == "0.00 [0.00, 0.00]" and written[0]["problems"] == "6"
    (nwm,) = [row for row in written if (row["method"], row["data set"]) == ("NWM, CEM", "recon")]
    assert nwm["comparable with ours"] == "no" and "spacing of 0.25 m, ours of 0.5 m" in nwm["why"]
    assert "NWM, CEM" in (tmp_path / "out" / "planning.md").read_text()
    assert "NWM, CEM" in (tmp_path / "out" / "planning.html").read_text()


def test_scored_methods_can_be_compared(tmp_path: Path, data: Path):
    file = write(tmp_path / "a.csv", plans("a", [3, 7], off_m=0.0) + plans("b", [3, 7], off_m=0.25))
    score(ScoreConfig(planned=str(file), truth=str(data), out=str(tmp_path / "out")))
    rows = read_rows(tmp_path / "out")
    asked = CompareConfig(first="", second="", first_method="b", second_method="a")
    (found,) = compare(rows, rows, asked)
    assert found.tables[0].metrics["ate_m"].won.mean == 1.0


def test_rows_are_a_function_of_files_and_settings(tmp_path: Path, data: Path):
    file = write(tmp_path / "a.csv", plans("a", [3], off_m=0.1))
    for out in ("one", "two"):
        score(ScoreConfig(planned=str(file), truth=str(data), out=str(tmp_path / out)))
    first, second = (read_rows(tmp_path / out) for out in ("one", "two"))
    assert first == second
    write(file, plans("a", [3], off_m=0.2))
    score(ScoreConfig(planned=str(file), truth=str(data), out=str(tmp_path / "three")))
    assert read_rows(tmp_path / "three")[0].provenance.config_hash != first[0].provenance.config_hash


def test_windows_that_were_asked_for(tmp_path: Path, data: Path):
    file = write(tmp_path / "a.csv", plans("a", [3], off_m=0.1))
    asked = [{"trajectory": "drive0", "frame": frame} for frame in (3, 9)]
    windows = write(tmp_path / "windows.jsonl", asked)
    config = ScoreConfig(planned=str(file), truth=str(data), out=str(tmp_path / "out"), windows=str(windows))
    found = score(config)
    assert found.fault_counts == {"missing": 1}
    assert found.faults == ("windows without a plan: truth: a, drive0, frame 9: no plan",)
    windows.write_text('{"trajectory": "drive0"}\n')
    with pytest.raises(ValueError, match=r"row 1: needed a trajectory and a frame"):
        read_windows(windows)


def test_frames_of_others(tmp_path: Path, data: Path):
    root = tmp_path / "frames"
    lines = []
    for number in range(3):
        drive = read_trajectory(data / f"drive{number}")
        (root / f"w{number}").mkdir(parents=True)
        for seconds, index in ((1, 6), (2, 10)):
            shown = drive.frames[index] + np.uint8(10)
            Image.fromarray(shown).save(root / f"w{number}" / f"{seconds}.png")
        lines.append(json.dumps({"window": f"w{number}", "trajectory": drive.name, "frame": 2}))
    (root / "manifest.jsonl").write_text("\n".join([*lines, "no json"]))
    config = ScoreConfig(
        planned=str(root),
        truth=str(data),
        out=str(tmp_path / "out"),
        method="theirs",
        frame_names=FrameNames.seconds,
    )
    found = score(config)
    assert found.fault_counts == {"not_scored": 1}
    rows = from_table(pq.read_table(tmp_path / "out" / "frames.parquet"), FrameRow)
    assert len(rows) == 12 and {row.method for row in rows} == {"theirs", "copied"}
    results = json.loads((tmp_path / "out" / "summary.json").read_text())["results"]
    (two,) = [each for each in results if (each["method"], each["goal_s"]) == ("theirs", 2.0)]
    assert two["value"]["mean"] == pytest.approx(20 * np.log10(255 / 10)) and two["value"]["n"] == 3
    text = (tmp_path / "out" / "prediction.md").read_text()
    assert "| **theirs** | recon | time | 1 | psnr_db | 28.13 [28.13, 28.13] | 3 | ours |" in text
    assert "AR-Forcing" in text


def test_what_cannot_be_scored_is_refused(tmp_path: Path, data: Path):
    file = write(tmp_path / "a.csv", plans("a", [3], off_m=0.1))
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="holds no trajectory that can be read"):
        score(ScoreConfig(planned=str(file), truth=str(tmp_path / "none"), out=str(tmp_path / "out")))
    with pytest.raises(ValueError, match=r"radius_m must be positive; got 0\.0"):
        ScoreConfig(planned="p", truth="t", radius_m=0.0)
