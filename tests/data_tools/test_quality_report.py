"""The report shows every recording, what was cut, and nothing of a source that would be run as a script."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from data_tools.quality_report import REPORT, write_quality_report
from data_tools.trajectory import Skipped, Trajectory, write_trajectory
from tests.data_tools.test_conversion_record import QUALITY, RECORD


def test_the_page_holds_findings_cuts_maps_and_pictures(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)
    poses = np.column_stack([np.arange(5.0), np.arange(5.0) ** 2, np.zeros(5)])
    for name in RECORD.trajectories:
        write_trajectory(
            Trajectory(name=name, place="yard", frames=frames, poses=poses, times_s=np.arange(5.0)), tmp_path
        )
    gone = Skipped(Path("bags/<script>alert(1)</script>.bag"), "it is no bag")
    plain = replace(
        RECORD, name="plain", trajectories=(), quality=replace(QUALITY, spacing_m=None, images=None)
    )
    write_quality_report([RECORD, plain], [gone], tmp_path, num_shown=1)
    page = (tmp_path / REPORT).read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert page.count("<svg") == 1 and page.count("data:image/jpeg;base64") == 1
    assert "clockwise from x" in page and "one message of /tf is cut off" in page
    assert "the pose jumps" in page and "1 more are in the table only" in page


def test_a_page_of_nothing_says_so(tmp_path):
    write_quality_report([], [], tmp_path, num_shown=5)
    page = (tmp_path / REPORT).read_text()
    assert "Nothing was cut" in page and "Nothing is noteworthy" in page
