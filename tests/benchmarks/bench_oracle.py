"""What the problems and the representation allow, as JSON, with no model in it.

`python -m tests.benchmarks.bench_oracle [representation=FOLDER] [problems=36] [out=outputs/bench_oracle]`.
`ratio`: the oracle simulator's ATE over that of the best method that is no oracle, with the pixel cost and
128 candidates x 5 iterations; the target is 0.5. With a representation, `latent_by_pixel`: the same ATE with
the latent cost over that with the pixel cost; the target is 1.1. Stopped, it goes on from what OUT holds.
"""

import json
import sys
from pathlib import Path

from planners.evaluation.open_loop import make_provenance, run_open_loop
from planners.evaluation.shards import worker_session
from planners.evaluation.summary import Loop, Run, summarise
from tests.benchmarks.compose import compose_planners, read_arguments

SEARCH = ("search.cem.num_candidates=128", "search.cem.num_iterations=5", "search.cem.prior_weight=0")


def main() -> None:
    """Print both ratios for each split."""
    settings = read_arguments(
        sys.argv[1:], representation="null", problems="36", out="outputs/bench_oracle", workers="2"
    )
    pixel = _errors(settings, "search.simulator_cost=pixel")
    report: dict[str, object] = {**settings, "problems_by_pixel": pixel}
    if settings["representation"] != "null":
        latent = _errors(settings, "search.simulator_cost=latent")
        report["problems_by_latent"] = latent
        report["latent_by_pixel"] = {
            split: round(latent[split]["oracle_m"] / row["oracle_m"], 3) for split, row in pixel.items()
        }
    print(json.dumps(report, indent=1))


def _errors(settings: dict[str, str], cost: str) -> dict[str, dict[str, float]]:
    config = compose_planners(
        "open_loop",
        "checkpoint=null",
        f"representation={settings['representation']}",
        f"num_problems={settings['problems']}",
        f"workers={settings['workers']}",
        f"out={Path(settings['out']) / cost.split('=')[1]}",
        cost,
        *SEARCH,
    )
    with worker_session(config.workers):
        rows = run_open_loop(config)
    run = Run(loops={Loop.open_loop: make_provenance(config)}, config={}, commit=None, timing={})
    errors = {}
    for split, result in summarise(rows, [], run).open_loop.items():
        assert result.best_baseline is not None
        oracle = result.table["oracle_simulator"]["ate_m"]
        best = result.table[result.best_baseline]["ate_m"]
        errors[split] = {
            "oracle_m": round(oracle.mean, 3),
            "best_m": round(best.mean, 3),
            "ratio": round(oracle.mean / best.mean, 3),
            "n": oracle.n,
        }
    return errors


if __name__ == "__main__":
    main()
