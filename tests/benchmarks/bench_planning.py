"""The planning rows of a checkpoint, as JSON.

`python -m tests.benchmarks.bench_planning CHECKPOINT OUT [problems]`: 200 open-loop problems and 100
closed-loop episodes a split unless told otherwise; stopped, it goes on from the rows in OUT. Prints gap
closed with its paired 95% interval, the ATE of every method, and the success of every agent.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from planners.demo import run_demo
from tests.benchmarks.compose import compose_planners


def main() -> None:
    """Run both loops and print what the targets are about."""
    checkpoint, out = sys.argv[1], sys.argv[2]
    num_problems = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    demo = compose_planners("demo", f"checkpoint={checkpoint}", f"out={out}")
    config = replace(
        demo,
        open_loop=replace(demo.open_loop, num_problems=num_problems),
        closed_loop=replace(demo.closed_loop, num_episodes=max(1, num_problems // 2)),
    )
    run_demo(config, Console(stderr=True))
    summary = json.loads((Path(out) / "summary.json").read_text(encoding="utf-8"))
    report = {
        split: {
            "gap_closed": open_loop["gap_closed"],
            "ate_m": _each(open_loop, "ate_m"),
            "success": _each(summary["closed_loop"][split], "success"),
        }
        for split, open_loop in summary["open_loop"].items()
    }
    print(json.dumps(report, indent=1))


def _each(table: dict[str, Any], metric: str) -> dict[str, Any]:
    return {name: row[metric] for name, row in table.items() if isinstance(row, dict) and metric in row}


if __name__ == "__main__":
    main()
