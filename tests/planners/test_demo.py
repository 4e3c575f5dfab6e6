"""Demo: one call leaves rows, summary, page and picture, and a second call computes nothing again."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from envs.level_recorder import LevelRecorder
from planners.cem import CemConfig
from planners.demo import DemoConfig, run_demo
from planners.evaluation.answers import SearchConfig
from planners.evaluation.closed_loop import ClosedLoopConfig, run_closed_loop
from planners.evaluation.open_loop import OpenLoopConfig, run_open_loop
from planners.evaluation.problems import ProblemShape
from planners.prior import PriorConfig

PRIOR = PriorConfig(levels=["map02"], trajectories_per_level=2, trajectory_frames=14)


def config(out: Path) -> DemoConfig:
    levels = {"seen_levels": ["map02"], "unseen_levels": ["map01"]}
    shared = {"out": str(out), "checkpoint": None, "workers": 0, "num_shown": 1, "prior": PRIOR, **levels}
    return DemoConfig(
        out=str(out),
        checkpoint=None,
        workers=0,
        open_loop=OpenLoopConfig(
            num_problems=1,
            trajectories_per_shard=1,
            trajectory_frames=14,
            problem=ProblemShape(num_context=2),
            search=SearchConfig(cem=CemConfig(num_candidates=3, num_elites=1, num_iterations=2)),
            **shared,
        ),
        closed_loop=ClosedLoopConfig(num_episodes=1, **shared),
    )


def test_demo_leaves_its_results_and_goes_on_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    run_demo(config(tmp_path), Console(file=text, width=120))
    names = {"index.html", "overview.png", "summary.json", "open_loop.parquet", "closed_loop.parquet"}
    assert names <= {path.name for path in tmp_path.iterdir()}
    assert "0 failed" in text.getvalue() and str(tmp_path) in text.getvalue()
    first = json.loads((tmp_path / "summary.json").read_text())
    assert first["open_loop"]["unseen_levels"]["oracle_simulator"]["ate_m"]["n"] == 1
    assert first["closed_loop"]["seen_levels"]["shortest_path"]["success"]["n"] == 1
    page = (tmp_path / "index.html").read_text()
    assert page.count("<video") == 4, "one plan and one drive a split"

    def recorded_again(*args: object, **kwargs: object) -> None:
        raise AssertionError("a finished demo recorded again")

    monkeypatch.setattr(LevelRecorder, "__init__", recorded_again)
    assert len(run_open_loop(config(tmp_path).open_loop)) == 2 * 7
    assert len(run_closed_loop(config(tmp_path).closed_loop)) == 2 * 3
