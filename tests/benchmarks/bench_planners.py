"""Bookkeeping of the searches beside those of `stable-worldmodel` (PyPI, MIT), as JSON.

`python -m tests.benchmarks.bench_planners stable_worldmodel_python=PYTHON [repeats=7]`, where PYTHON is the
interpreter of an environment of its own (`peer_stable_worldmodel.py` says what it needs); without it, only
ours are timed. 50 problems, 300 candidates, 30 elites, 30 iterations, all problems in one batch, float32, one
thread, one process a side; the sides take turns, and medians of CPU time count. The cost is nearly free: what
is timed is drawing, ranking and fitting.

Their action is ten numbers, ours three (dx, dy, dyaw). `horizon_5` is the same horizon: 15 numbers a
candidate against their 50. `equal_numbers` is 17 steps: 51 numbers against their 50. Beyond theirs, ours draw
each problem from a stream of its own, fit correlations (cem), round candidates to what their text says, and
return all candidates. Target: half of their time at the same horizon; met by icem, not by cem: drawing
normal numbers is three fifths of their time and a quarter of ours, and what ours adds takes the rest.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from planners.candidates import Bounds, Parameterisation, Prior
from planners.cem import Cem, CemConfig
from planners.evaluation.shards import KEEP_MEMORY
from planners.icem import Icem, IcemConfig
from planners.mppi import Mppi, MppiConfig
from planners.plan import Planner
from tests.benchmarks.bench_transfusion_pytorch import Process
from tests.benchmarks.compose import read_arguments

NUM_PROBLEMS, NUM_CANDIDATES, NUM_ELITES, NUM_ITERATIONS = 50, 300, 30, 30
HORIZONS = {"horizon_5": 5, "equal_numbers": 17}
NUM_WARMUP = 2
REQUEST = {
    "num_problems": NUM_PROBLEMS,
    "num_candidates": NUM_CANDIDATES,
    "num_elites": NUM_ELITES,
    "num_iterations": NUM_ITERATIONS,
}
PLANNERS: dict[str, Planner] = {
    "cem": Cem(
        CemConfig(num_candidates=NUM_CANDIDATES, num_elites=NUM_ELITES, num_iterations=NUM_ITERATIONS)
    ),
    "icem": Icem(  # coloured noise and no decay, as theirs
        IcemConfig(
            num_candidates=NUM_CANDIDATES,
            num_elites=NUM_ELITES,
            num_iterations=NUM_ITERATIONS,
            population_decay=1.0,
            noise_exponent=2.0,
        )
    ),
    "mppi": Mppi(MppiConfig(num_candidates=NUM_CANDIDATES, num_iterations=NUM_ITERATIONS)),
}
GOAL, WEIGHT = torch.tensor([0.1, 0.2, -0.3]), torch.tensor([1.0, 1.37, 0.71])


def main() -> None:
    """Time both sides in turn, and print JSON."""
    if any(os.environ.get(name) != value for name, value in KEEP_MEMORY.items()):  # read at a start only
        command = [sys.executable, "-m", "tests.benchmarks.bench_planners", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **KEEP_MEMORY, "OMP_NUM_THREADS": "1"})
    torch.set_num_threads(1)
    settings = read_arguments(sys.argv[1:], stable_worldmodel_python="", repeats="7")
    timed: dict[str, Callable[[], float]] = {
        f"ours_{method}_{title}": _ours(planner, horizon)
        for method, planner in PLANNERS.items()
        for title, horizon in HORIZONS.items()
    }
    if settings["stable_worldmodel_python"]:
        script = Path(__file__).with_name("peer_stable_worldmodel.py")
        peer = Process([settings["stable_worldmodel_python"], str(script)])
        timed |= {f"theirs_{method}": _theirs(peer, method) for method in ("cem", "icem")}
    seconds = {name: [] for name in timed}
    for _ in range(NUM_WARMUP + int(settings["repeats"])):
        for name, measure in timed.items():
            seconds[name].append(measure())
    report = {name: round(statistics.median(each[NUM_WARMUP:]), 4) for name, each in seconds.items()}
    ratios = {
        f"ratio_{method}_{title}": round(report[f"ours_{method}_{title}"] / report[f"theirs_{method}"], 2)
        for method in ("cem", "icem")
        for title in HORIZONS
        if f"theirs_{method}" in report
    }
    print(json.dumps({**settings, "torch": torch.__version__, "core_s": report, **ratios}, indent=1))


def _ours(planner: Planner, horizon: int) -> Callable[[], float]:
    """Return what measures one search [core-seconds]."""
    count = 3 * horizon
    prior = Prior(
        mean=torch.zeros(count),
        covariance=0.04 * torch.eye(count),
        parameterisation=Parameterisation.steps,
        horizon=horizon,
        dt_s=0.25,
        bounds=Bounds(dx_m=1.0, dy_m=1.0, dyaw_rad=1.0),
    )

    def measure() -> float:
        generators = [torch.Generator().manual_seed(index) for index in range(NUM_PROBLEMS)]
        start_s = time.process_time()
        planner.plan(_first_action, prior, generators=generators)
        return time.process_time() - start_s

    return measure


def _theirs(peer: Process, method: str) -> Callable[[], float]:
    return lambda: peer.ask(do="plan", method=method, **REQUEST)["core_s"]


def _first_action(candidates: torch.Tensor) -> torch.Tensor:
    """Return the distance of the first action from a goal: the same as theirs, nearly free."""
    return (candidates[..., 0, :3] - GOAL).square() @ WEIGHT


if __name__ == "__main__":
    main()
