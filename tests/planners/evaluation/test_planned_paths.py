"""Plans are read alike from every form of table, and every bad one is named while the others are read."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.pose import integrate
from planners.evaluation.planned_paths import FaultKind, Units, read_paths, whole_number

STEPS = np.array([[0.5, 0.125, 0.25], [0.25, -0.5, -0.5], [1.0, 0.0, 3.0]])


def records(steps: np.ndarray = STEPS, *, frame: int = 4, names=("dx", "dy", "dyaw"), **more) -> list[dict]:
    return [
        {"trajectory": "drive", "frame": frame, "step": step, **dict(zip(names, row, strict=True)), **more}
        for step, row in enumerate(steps.tolist(), start=1)
    ]


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(exist_ok=True)
    match path.suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path, **settings):
    return read_paths(path, **{"method": "theirs", "units": Units.metres, **settings})


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_every_form_reads_the_same(tmp_path: Path, suffix: str):
    rows = [*records()[::-1], *records(STEPS[:2], frame=7, method="other")]
    rows = [{"method": None, **row} if suffix == ".parquet" else {"method": "", **row} for row in rows]
    report = read(write(tmp_path / f"plans{suffix}", rows))
    assert report.faults == ()
    assert [(path.method, path.trajectory, path.frame) for path in report.paths] == [
        ("theirs", "drive", 4),
        ("other", "drive", 7),
    ]
    np.testing.assert_array_equal(report.paths[0].displacements, STEPS)
    assert report.paths[1].num_steps == 2


def test_poses_are_the_displacements_that_lead_to_them(tmp_path: Path):
    poses = records(integrate(STEPS), names=("x", "y", "yaw"))
    (path,) = read(write(tmp_path / "plans.jsonl", poses)).paths
    np.testing.assert_allclose(path.displacements, STEPS, atol=1e-12)


def test_units_of_spacing_scale_lengths_and_no_angles(tmp_path: Path):
    file = write(tmp_path / "plans.csv", records())
    (path,) = read(file, units=Units.spacing, spacing_m=0.25).paths
    np.testing.assert_array_equal(path.displacements, STEPS * np.array([0.25, 0.25, 1.0]))
    with pytest.raises(ValueError, match="spacing in metres, above 0; got spacing_m=None"):
        read(file, units=Units.spacing)


def test_a_folder_holds_a_horizon_a_file(tmp_path: Path):
    write(tmp_path / "plans" / "b.csv", records(np.tile(STEPS, (2, 1))))
    write(tmp_path / "plans" / "a.jsonl", records())
    (tmp_path / "plans" / "notes.txt").write_text("not read")
    report = read(tmp_path / "plans")
    assert [path.num_steps for path in report.paths] == [3, 6] and report.faults == ()


def test_bad_plans_are_named_and_the_rest_is_read(tmp_path: Path):
    gap, twice, bad = records(frame=1)[:1] + records(frame=1)[2:], records(frame=2), records(frame=3)
    twice[2]["step"] = 2
    bad[1]["dy"] = "nan"
    rows = [*gap, *twice, *bad, *records(frame=5), {**records()[0], "frame": "x"}, *records(frame=6)]
    rows[-1]["dyaw"] = "wide"
    report = read(write(tmp_path / "plans.csv", rows))
    assert [path.frame for path in report.paths] == [5]
    found = {(fault.kind, fault.frame, fault.num_steps) for fault in report.faults}
    assert found == {
        (FaultKind.bad_row, None, None),
        (FaultKind.bad_steps, 1, None),
        (FaultKind.bad_steps, 2, None),
        (FaultKind.not_finite, 3, 3),
        (FaultKind.not_finite, 6, 3),
    }
    details = {fault.frame: fault.detail for fault in report.faults}
    assert details[1] == "steps must be 1, 2, ... and at least two; they are [1, 3]"
    assert details[None].startswith("row 12 needs a trajectory") and details[3] == "step 2 is not finite"


def test_a_horizon_tells_plans_from_one_frame_apart(tmp_path: Path):
    rows = records() + records(STEPS[:2] * 0.5)
    told = [{**row, "horizon": 3 if number < 3 else 2} for number, row in enumerate(rows)]
    report = read(write(tmp_path / "told.csv", told))
    assert report.faults == ()
    np.testing.assert_array_equal(report.paths[0].displacements, STEPS)
    np.testing.assert_array_equal(report.paths[1].displacements, STEPS[:2] * 0.5)
    (mixed,) = read(write(tmp_path / "mixed.csv", rows)).faults
    assert mixed.detail.endswith(
        "they are [1, 1, 2, 2, 3]; a column `horizon` tells several plans from one frame apart"
    )
    (short,) = read(write(tmp_path / "short.csv", told[:2])).faults
    assert (short.detail, short.num_steps) == ("steps must be 1, 2, ... up to 3; they are [1, 2]", 3)


def test_lines_that_are_no_json_are_counted(tmp_path: Path):
    file = write(tmp_path / "plans.jsonl", records())
    with file.open("ab") as opened:
        opened.write(b'{"broken": \n[1, 2]\n\xff\xfe\n' + b"[" * 100_000 + b"\n")
    report = read(file)
    assert len(report.paths) == 1
    assert [fault.kind for fault in report.faults] == [FaultKind.bad_row] * 4


def test_a_second_plan_of_the_same_problem_is_not_scored(tmp_path: Path):
    write(tmp_path / "a.jsonl", records())
    write(tmp_path / "b.jsonl", records(STEPS * 0.5))
    report = read(tmp_path)
    np.testing.assert_array_equal(report.paths[0].displacements, STEPS)
    assert [(fault.kind, fault.where) for fault in report.faults] == [(FaultKind.duplicate, "b.jsonl")]


def test_what_is_no_table_of_plans_is_refused(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"needs the columns trajectory, frame, step and either dx, dy, dyaw"
    ):
        read(write(tmp_path / "a.csv", [{"trajectory": "t", "frame": 1, "step": 1, "dx": 0.0}]))
    both = [row | {"x": 0.0, "y": 0.0, "yaw": 0.0} for row in records()]
    with pytest.raises(ValueError, match="it has trajectory, frame, step, dx, dy, dyaw, x, y, yaw"):
        read(write(tmp_path / "b.csv", both))
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"c\.parquet is not a Parquet file"):
        read(tmp_path / "c.parquet")
    (tmp_path / "d.csv").write_bytes(b"\xff\xff\xff")
    with pytest.raises(ValueError, match="not a CSV file in UTF-8"):
        read(tmp_path / "d.csv")
    (tmp_path / "e.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"must end in \.parquet, \.csv, \.jsonl"):
        read(tmp_path / "e.pkl")
    with pytest.raises(FileNotFoundError, match=r"f\.csv is missing"):
        read(tmp_path / "f.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no file that ends in"):
        read(tmp_path / "empty")
    (tmp_path / "g.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="holds no row of a planned path"):
        read(tmp_path / "g.jsonl")


def test_whole_numbers_are_whole():
    assert [whole_number(value) for value in (3, 3.0, "3", "3.0", 0)] == [3, 3, 3, 3, 0]
    bad = (True, 1.5, -1, "x", None, math.nan, math.inf, 10**400, "9" * 400)
    assert [whole_number(value) for value in bad] == [None] * len(bad)
