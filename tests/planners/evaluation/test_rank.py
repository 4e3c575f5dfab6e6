"""Rank: proposals become problems, the model chooses among them, and what has no problem is named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_tools.evaluation_index import Window
from planners.evaluation.open_loop import OpenLoopConfig
from planners.evaluation.planned_paths import PathReport, PlannedPath, Units
from planners.evaluation.problems import ProblemShape
from planners.evaluation.rank import METHODS, RankConfig, grouped, run_rank, to_markdown
from planners.evaluation.recorded import RecordedConfig, open_recorded
from tests.planners.evaluation.rows import open_loop_row
from tests.planners.evaluation.test_recorded import write_drives

RECORDED = RecordedConfig(held_out_fraction=0.5, problems_per_shard=2)


@pytest.fixture
def data(tmp_path) -> Path:
    write_drives(tmp_path / "set")
    return tmp_path / "set"


def proposal(name: str, trajectory: str, *, frame: int = 5, step_m: float = 0.3, num_steps: int = 4):
    steps = np.tile([step_m, 0.0, 0.0], (num_steps, 1))
    return PlannedPath(method=name, trajectory=trajectory, frame=frame, displacements=steps)


def window(trajectory: str, *, num_steps: int) -> Window:
    return Window(trajectory=trajectory, frame=5, min_offset=num_steps, max_offset=num_steps)


def write(file: Path, paths: list[PlannedPath]) -> Path:
    with file.open("w") as opened:
        for path in paths:
            for step, (dx, dy, dyaw) in enumerate(path.displacements.tolist(), start=1):
                row = {
                    "trajectory": path.trajectory,
                    "frame": path.frame,
                    "step": step,
                    "method": path.method,
                }
                opened.write(json.dumps(row | {"dx": dx, "dy": dy, "dyaw": dyaw}) + "\n")
    return file


def make_config(tmp_path: Path, data: Path, paths: list[PlannedPath], **changes) -> RankConfig:
    settings = {
        "checkpoint": "nano",
        "data": str(data),
        "proposals": str(write(tmp_path / "proposals.jsonl", paths)),
        "out": str(tmp_path / "out"),
        "workers": 0,
        "problem": ProblemShape(num_context=2),
        "recorded": RECORDED,
    }
    return RankConfig(**(settings | changes))


def test_a_model_chooses_among_what_was_proposed(tmp_path, data):
    first, second, third = (each.name for each in open_recorded(data, RECORDED).held_out)
    lengths_m = {"a": 0.1, "b": 0.3, "c": 0.6}
    paths = [
        proposal(name, trajectory, step_m=step_m)
        for trajectory in (first, second, third)
        for name, step_m in lengths_m.items()
    ]
    rows, skipped = run_rank(make_config(tmp_path, data, paths))
    assert skipped == [] and [row.error for row in rows] == [None] * 9
    assert {row.method for row in rows} == set(METHODS) and {row.split for row in rows} == {"zero_shot"}
    texts = {f"action: dx=+{step_m:.3f}, dy=+0.000, dyaw=+0.000, dt=0.25" for step_m in lengths_m.values()}
    assert all(len(row.plan) == 4 and len(set(row.plan)) == 1 and row.plan[0] in texts for row in rows)
    by_method = {method: [row for row in rows if row.method == method] for method in METHODS}
    # Drives go 0.3 m a step, times 1 + 0.1 of their number (at most 5): 0.3 is the nearest of the three.
    assert all(row.plan[0].startswith("action: dx=+0.300") for row in by_method["oracle_cost"])
    assert all(row.cost == row.iteration_costs[0] for row in by_method["ranked"])
    table = to_markdown(rows)
    assert "### 3 problems, 0 failed" in table and "| ranked | " in table


def test_rows_are_kept_until_a_proposal_changes(tmp_path, data):
    name = open_recorded(data, RECORDED).held_out[0].name
    config = make_config(tmp_path, data, [proposal("a", name), proposal("b", name, step_m=0.1)])
    rows, _ = run_rank(config)
    assert run_rank(config)[0] == rows  # the seconds too
    write(Path(config.proposals or ""), [proposal("a", name), proposal("b", name, step_m=0.2)])
    changed, _ = run_rank(config)
    assert changed[0].provenance.config_hash != rows[0].provenance.config_hash


def test_problems_are_where_held_out_trajectories_have_context_and_goal(data):
    recorded = open_recorded(data, RECORDED)
    held_out, trained = recorded.held_out[0].name, recorded.train[0].name
    paths = (
        proposal("b", held_out, step_m=0.2),
        proposal("a", held_out, step_m=0.1),
        proposal("a", held_out, num_steps=3),
        proposal("a", held_out, frame=0),
        proposal("a", held_out, frame=26),
        proposal("a", trained),
    )
    proposals, skipped = grouped(PathReport(paths, ()), recorded, num_context=2)
    assert list(proposals) == [window(held_out, num_steps=4), window(held_out, num_steps=3)]
    assert proposals[window(held_out, num_steps=4)][:, 0, 0].tolist() == [0.1, 0.2]  # by name
    assert skipped == [
        f"a from frame 0 of {held_out}: needs frames -1 to 4, there are 30",
        f"a from frame 26 of {held_out}: needs frames 25 to 30, there are 30",
        f"a from frame 5 of {trained}: no held-out trajectory is called so",
    ]
    with pytest.raises(ValueError, match="none of 1 proposals starts in a held-out trajectory"):
        grouped(PathReport(paths[-1:], ()), recorded, num_context=2)


def test_a_proposal_that_cannot_be_written_fails_its_problem_alone(tmp_path, data):
    first, second, _ = (each.name for each in open_recorded(data, RECORDED).held_out)
    paths = [proposal("a", first, step_m=200.0), proposal("a", second)]
    rows, _ = run_rank(make_config(tmp_path, data, paths, units=Units.spacing))
    failed = {row.problem_id for row in rows if row.error is not None}
    assert failed == {f"{first}/5+4"} and len(rows) == 6
    assert "1 problems, 1 failed" in to_markdown(rows)


def test_the_table_leaves_out_problems_that_failed():
    rows = [
        replace(open_loop_row(problem_id=f"p{number}", method=method, ate_m=ate_m), method=method)
        for number, ate_m in enumerate((0.25, 0.75))
        for method in METHODS
    ]
    rows[-1] = open_loop_row(problem_id="p1", method=METHODS[-1], ate_m=None, error="OSError: no")
    assert "| ranked | 0.250 [0.250, 0.250] | 0.050 [0.050, 0.050] | 0.500 [0.500, 0.500] |" in to_markdown(
        rows
    )


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(
        ValueError, match="needed checkpoint=NAME, data=FOLDER and proposals=FILE; got nano, "
    ):
        RankConfig()
    with pytest.raises(ValueError, match="temperature must not be negative; got -1"):
        RankConfig(data="d", proposals="p", temperature=-1.0)
    assert issubclass(RankConfig, OpenLoopConfig)
