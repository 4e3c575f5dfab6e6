"""Recorded loop: every method answers, training trajectories are refused, and failures stay alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from data_tools.fingerprint import fingerprint
from planners.cem import CemConfig
from planners.evaluation.answers import SearchConfig
from planners.evaluation.open_loop import OpenLoopConfig, recorded_run, write_beside_published
from planners.evaluation.problems import ProblemShape
from planners.evaluation.recorded import RecordedConfig, open_recorded
from planners.evaluation.recorded_loop import run_recorded, split_of
from planners.evaluation.report import write_report
from planners.evaluation.summary import Method, Split, summarise
from tests.planners.evaluation.test_recorded import write_drives
from worldmodel.model_folder import resolve
from worldmodel.training_record import read_record


def make_config(tmp_path: Path, **changes) -> OpenLoopConfig:
    settings = {
        "checkpoint": None,
        "data": str(tmp_path / "set"),
        "out": str(tmp_path / "out"),
        "workers": 0,
        "num_problems": 4,
        "num_shown": 1,
        "problem": ProblemShape(num_context=2),
        "recorded": RecordedConfig(held_out_fraction=0.5, problems_per_shard=2),
        "search": SearchConfig(cem=CemConfig(num_candidates=4, num_elites=1, num_iterations=1)),
    }
    return OpenLoopConfig(**(settings | changes))


@pytest.fixture
def data(tmp_path) -> Path:
    write_drives(tmp_path / "set")
    return tmp_path / "set"


def rows_of(config: OpenLoopConfig):
    assert config.data is not None
    recorded = open_recorded(Path(config.data), config.recorded)
    return run_recorded(recorded_run(config, recorded), recorded)


def test_a_model_plans_and_baselines_stand_beside_it(tmp_path, data):
    rows = rows_of(make_config(tmp_path, checkpoint="nano"))
    methods = [method.name for method in Method if method is not Method.oracle_simulator]
    assert len(rows) == 4 * len(methods) and {row.method for row in rows} == set(methods)
    assert {row.split for row in rows} == {"zero_shot"} and all(row.error is None for row in rows)
    straight = [row.ate_m for row in rows if row.method == "straight_ahead"]
    assert max(error for error in straight if error is not None) < 1  # the drives are straight
    (shown,) = [row for row in rows if row.evidence is not None]
    assert shown.evidence is not None and shown.evidence.is_recorded and len(shown.evidence.simulated) == 8


def test_the_page_says_where_the_problems_are_from(tmp_path, data):
    rows = rows_of(make_config(tmp_path))
    write_report(summarise(rows, [], _run(rows)), rows, [], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "those of a data set" in page and "recorded in the simulator just before" not in page
    assert "8 steps (2.00 s) later" in page


def test_published_results_stand_beside_ours_and_say_whether_they_compare(tmp_path, data):
    config = make_config(tmp_path, recorded=RecordedConfig(held_out_fraction=0.5, data_set="recon"))
    write_beside_published(config, rows_of(config))
    text = (tmp_path / "out/planning.md").read_text()
    assert "**straight_ahead**" in text and "NWM" in text and "| no |" in text
    assert (tmp_path / "out/planning.csv").exists() and "<table" in (
        tmp_path / "out/planning.html"
    ).read_text()


def test_rows_are_kept_and_do_not_depend_on_where_the_data_lies(tmp_path, data):
    config = make_config(tmp_path)
    first = rows_of(config)
    data.rename(tmp_path / "moved")
    assert rows_of(replace(config, data=str(tmp_path / "moved"))) == first
    assert [row.seconds for row in first] == [
        row.seconds for row in rows_of(replace(config, data=str(tmp_path / "moved")))
    ]


def test_goals_at_several_distances_are_told_apart(tmp_path, data):
    recorded = RecordedConfig(held_out_fraction=0.5, goals_s=[2.0, 4.0])
    rows = rows_of(make_config(tmp_path, recorded=recorded))
    assert {(row.split, len(row.true_poses)) for row in rows} == {("no_model_2_s", 8), ("no_model_4_s", 16)}
    summary = summarise(rows, [], _run(rows))
    assert list(summary.open_loop) == ["no_model_2_s", "no_model_4_s"]


def test_a_frame_that_cannot_be_read_fails_its_problems_alone(tmp_path, data):
    config = make_config(tmp_path)
    recorded = open_recorded(data, config.recorded)
    for trajectory in recorded.held_out[:1]:
        for index in range(12, 30):
            (data / trajectory.name / f"{index}.jpg").write_bytes(b"no image")
    rows = rows_of(replace(config, num_problems=12))
    failed = {row.problem_id for row in rows if row.error is not None}
    assert failed and all(recorded.held_out[0].name in name for name in failed)
    assert any("is not a readable JPEG" in (row.error or "") for row in rows)
    assert {row.problem_id for row in rows} - failed


def test_a_model_is_not_evaluated_on_what_it_was_trained_on(data):
    recorded = open_recorded(data, RecordedConfig(held_out_fraction=0.5))
    nano = read_record(resolve("nano"))
    records = {
        "trained": replace(
            nano, places=["yard"], trajectories={"yard": [fingerprint(recorded.held_out[:1])]}
        ),
        "held_out": replace(nano, places=["yard"], trajectories={"yard": [fingerprint(recorded.train[:1])]}),
        "unknown": replace(nano, places=["yard"], trajectories={}),
    }
    assert split_of(None, recorded, None) is Split.no_model
    assert split_of("nano", recorded, nano) is Split.zero_shot
    assert split_of("m", recorded, records["held_out"]) is Split.held_out
    with pytest.raises(ValueError, match=f"was trained on {recorded.held_out[0].name}"):
        split_of("m", recorded, records["trained"])
    with pytest.raises(ValueError, match="does not say on which"):
        split_of("m", recorded, records["unknown"])


def _run(rows):
    from planners.evaluation.summary import Loop, Run

    return Run(loops={Loop.open_loop: rows[0].provenance}, config={}, commit=None, timing={})
