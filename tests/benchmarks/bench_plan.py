"""Core-seconds of one plan, as JSON: `python -m tests.benchmarks.bench_plan [checkpoint=nano] [repeats=9]`.

A plan begins with frames: context and goal are encoded anew. Two searches, by jumps of eight steps on one
thread: the full budget (64 candidates x 3 iterations, imagined only) and what the checkpoint's evaluations
use (`planners/conf/nano/search.yaml`), each with four context frames and with one. CPU time, not wall time,
so that other work on the machine matters little; medians; in the environment of evaluation's workers
(`KEEP_MEMORY`). Targets: 0.5 core-seconds for the full budget in bfloat16, and at most 1.3 for the ratio of
four context frames to one.
"""

import json
import os
import statistics
import sys
import time

import numpy as np
import torch

from data_tools.randomness import generator_for, numpy_generator_for
from envs.doom_engine import STEP_S
from planners.candidates import Parameterisation, Prior
from planners.cem import Cem, CemConfig
from planners.evaluate import latent_goal, world_model_evaluate
from planners.evaluation.answers import SearchConfig
from planners.evaluation.shards import KEEP_MEMORY
from tests.benchmarks.compose import compose_planners, read_arguments
from worldmodel.model_folder import load_model
from worldmodel.predictor import WorldModel

HORIZON = 8
FRAME = (120, 160, 3)
PRIOR = Prior(
    mean=torch.tensor([0.2, 0.0, 0.0], dtype=torch.float64),
    covariance=torch.diag(torch.tensor([0.1, 0.05, 0.2], dtype=torch.float64) ** 2),
    parameterisation=Parameterisation.arc,
    horizon=HORIZON,
    dt_s=STEP_S,
)


def main() -> None:
    """Print the median core-seconds of a plan in each precision."""
    if any(os.environ.get(name) != value for name, value in KEEP_MEMORY.items()):  # read at a start only
        command = [sys.executable, "-m", "tests.benchmarks.bench_plan", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **KEEP_MEMORY})
    torch.set_num_threads(1)
    settings = read_arguments(sys.argv[1:], checkpoint="nano", repeats="9")
    searches = {
        "full_budget": SearchConfig(cem=CemConfig(num_candidates=64, num_iterations=3)),
        "as_evaluated": compose_planners("open_loop").search,
    }
    report: dict[str, object] = {**settings, "torch": torch.__version__}
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        model = load_model(settings["checkpoint"], dtype=dtype)
        for title, search in searches.items():
            # In turn, so that other work on the machine meets both; the first two warm up.
            pairs = [
                (_plan_s(model, 4, search), _plan_s(model, 1, search))
                for _ in range(int(settings["repeats"]) + 2)
            ][2:]
            four_s, one_s = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
            report[f"core_s_{title}_{name}_context_4"] = round(four_s, 3)
            report[f"core_s_{title}_{name}_context_1"] = round(one_s, 3)
            report[f"ratio_{title}_{name}"] = round(statistics.median([a / b for a, b in pairs]), 2)
    print(json.dumps(report, indent=1))


def _plan_s(model: WorldModel, num_frames: int, search: SearchConfig) -> float:
    """Return the CPU time from frames to a plan [s]."""
    rng = numpy_generator_for(0, "planner")
    seen = torch.from_numpy(rng.integers(0, 256, (1, num_frames, *FRAME), dtype=np.uint8))
    goal = torch.from_numpy(rng.integers(0, 256, (1, *FRAME), dtype=np.uint8))
    start_s = time.process_time()
    goal_latents = model.encode(goal)
    evaluate = world_model_evaluate(
        model,
        model.encode_context(seen),
        latent_goal(goal_latents, distance=search.distance),
        goal_frames=goal,
        step_s=STEP_S,
        config=search.imagination,
        generator=search.imagination.noise(0),
    )
    Cem(search.cem).plan(evaluate, PRIOR, generators=[generator_for(0, "planner")])
    return time.process_time() - start_s


if __name__ == "__main__":
    main()
