"""Two Ray workers against one on closed-loop evaluation, as JSON.

`python -m tests.benchmarks.bench_workers [rounds] [checkpoint]`. Episodes are driven by the agents without a
model unless a checkpoint is named. Each round runs the same episodes with each number of workers; the target
for `ratio` (one worker's time by two workers') is 1.7 on two idle cores. Start-up of Ray is outside the
timing, and rows are compared: they must not depend on the workers.
"""

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from planners.evaluation.closed_loop import ClosedLoopConfig, run_closed_loop
from planners.evaluation.records import ClosedLoopRow
from planners.evaluation.shards import worker_session


def main() -> None:
    """Print seconds with one and with two workers, and their ratio."""
    num_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    checkpoint = sys.argv[2] if len(sys.argv) > 2 else None
    config = ClosedLoopConfig(checkpoint=checkpoint, num_episodes=24, num_shown=0)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(num_rounds):
        rows = {workers: _timed(config, workers, seconds[workers]) for workers in (1, 2)}
        if rows[1] != rows[2]:
            raise AssertionError("rows depend on the number of workers")
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    report = {
        "rounds": num_rounds,
        "checkpoint": checkpoint,
        "seconds_one_worker": round(statistics.median(seconds[1]), 2),
        "seconds_two_workers": round(statistics.median(seconds[2]), 2),
        "ratio": round(statistics.median(ratios), 2),
    }
    print(json.dumps(report, indent=1))


def _timed(config: ClosedLoopConfig, workers: int, seconds: list[float]) -> list[tuple[object, ...]]:
    with tempfile.TemporaryDirectory() as out, worker_session(workers):
        run_closed_loop(replace(config, out=str(Path(out) / "warm"), workers=workers, num_episodes=2))
        started = time.perf_counter()
        rows = run_closed_loop(replace(config, out=str(Path(out) / "timed"), workers=workers))
        seconds.append(time.perf_counter() - started)
    return sorted(map(_without_times, rows))


def _without_times(row: ClosedLoopRow) -> tuple[object, ...]:
    return (
        row.episode_id,
        row.agent,
        row.success,
        row.reached,
        row.spl,
        row.final_distance_m,
        row.collisions,
    )


if __name__ == "__main__":
    main()
