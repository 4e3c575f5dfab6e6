"""Two Ray workers against one on closed-loop evaluation, as JSON.

`python -m tests.benchmarks.bench_workers [checkpoint=nano] [rounds=3] [episodes=32]`. Each round drives the
same episodes of the checkpoint's training levels, by all agents, with each number of workers. The target for
`ratio` (one worker's time by two workers') is 1.7 on two idle cores. Start-up of Ray, prior and calibration
are outside the timing. Rows are compared: they must not depend on the workers.
"""

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace

from planners.evaluation.closed_loop import ClosedLoopConfig, run_closed_loop
from planners.evaluation.records import ClosedLoopRow
from planners.evaluation.shards import worker_session
from tests.benchmarks.compose import compose_planners, read_arguments


def main() -> None:
    """Print seconds with one and with two workers, and their ratio."""
    settings = read_arguments(sys.argv[1:], checkpoint="nano", rounds="3", episodes="32")
    node = compose_planners("closed_loop", f"checkpoint={settings['checkpoint']}", "unseen_levels=[]")
    config = replace(node, num_episodes=int(settings["episodes"]), num_shown=0)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(int(settings["rounds"])):
        rows = {workers: _timed(config, workers, seconds[workers]) for workers in (1, 2)}
        if rows[1] != rows[2]:
            raise AssertionError("rows depend on the number of workers")
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    report = {
        **settings,
        "seconds_one_worker": round(statistics.median(seconds[1]), 2),
        "seconds_two_workers": round(statistics.median(seconds[2]), 2),
        "ratio": round(statistics.median(ratios), 2),
    }
    print(json.dumps(report, indent=1))


def _timed(config: ClosedLoopConfig, workers: int, seconds: list[float]) -> list[ClosedLoopRow]:
    with tempfile.TemporaryDirectory() as out, worker_session(workers):
        here = replace(config, out=out, workers=workers)
        # Other episodes first: they fit the prior, calibrate, and load what workers keep.
        run_closed_loop(replace(here, seed=config.seed + 1, num_episodes=2 * workers))
        started = time.perf_counter()
        rows = run_closed_loop(here)
        seconds.append(time.perf_counter() - started)
    return [replace(row, seconds_per_decision=None) for row in rows]


if __name__ == "__main__":
    main()
