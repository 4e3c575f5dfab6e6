"""Core-seconds of one plan, as JSON: `python -m tests.benchmarks.bench_plan [checkpoint=FOLDER] [repeats=5]`.

A plan is 64 candidates x 3 iterations by jumps of 2 s on one thread, context and goal encoded anew, with
the likelihood of the candidates' text and (`imagined_only`) without. Without
a checkpoint the weights are random, of nano's sizes: the time does not depend on their values. CPU time, not
wall time, so that other work on the machine matters little; medians.
"""

import json
import statistics
import sys
import time

import numpy as np
import torch

from data_tools.randomness import generator_for, numpy_generator_for
from planners.candidates import Parameterisation, Prior
from planners.cem import Cem, CemConfig
from planners.evaluate import ImaginationConfig, latent_goal, world_model_evaluate
from worldmodel.flow import Prediction
from worldmodel.model_folder import load_model
from worldmodel.predictor import WorldModel
from worldmodel.representation.rae import RaeConfig, RaeRepresentation
from worldmodel.tokenizer import TextTokenizer
from worldmodel.transfusion import Transfusion, TransfusionConfig

STEP_S = 9 / 35
HORIZON = 8
FRAME = (120, 160, 3)
SEARCH = CemConfig(num_candidates=64, num_iterations=3)
WEIGHED = ImaginationConfig(inverse_weight=0.1)
PRIOR = Prior(
    mean=torch.tensor([0.2, 0.0, 0.0], dtype=torch.float64),
    covariance=torch.diag(torch.tensor([0.1, 0.05, 0.2], dtype=torch.float64) ** 2),
    parameterisation=Parameterisation.arc,
    horizon=HORIZON,
    dt_s=STEP_S,
)


def main() -> None:
    """Print the median core-seconds of a plan in each precision, with four context frames and with one."""
    torch.set_num_threads(1)
    settings = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if unknown := set(settings) - {"checkpoint", "repeats"}:
        raise SystemExit(f"known are checkpoint= and repeats=, not {', '.join(sorted(unknown))}")
    repeats = int(settings.get("repeats", "5"))
    report: dict[str, object] = {
        "checkpoint": settings.get("checkpoint", "random weights of nano's sizes"),
        "candidates": SEARCH.num_candidates,
        "iterations": SEARCH.num_iterations,
        "torch": torch.__version__,
    }
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        model = _load(settings.get("checkpoint"), dtype)
        for imagination, suffix in ((WEIGHED, ""), (ImaginationConfig(), "_imagined_only")):
            for num_frames in (4, 1):
                # The first one warms up.
                times_s = [_plan_s(model, num_frames, imagination) for _ in range(repeats + 1)][1:]
                name_of_row = f"core_s_{name}_context_{num_frames}{suffix}"
                report[name_of_row] = round(statistics.median(times_s), 4)
    print(json.dumps(report, indent=1))


def _load(checkpoint: str | None, dtype: torch.dtype) -> WorldModel:
    if checkpoint is not None:
        return load_model(checkpoint, dtype=dtype)
    generator = generator_for(0, "init")
    tokenizer = TextTokenizer.train(["the robot turns left and goes on"] * 50, 400)
    representation = RaeRepresentation.create(RaeConfig(), generator=generator)
    transfusion = Transfusion(
        TransfusionConfig(), vocab_size=1024, latent_channels=representation.num_channels
    ).initialise(generator=generator)
    with torch.no_grad():  # zero at first: every candidate would look alike
        transfusion.latent_output.weight.normal_(0, 0.1, generator=generator)
    return WorldModel(transfusion, tokenizer, representation, prediction=Prediction.latent, dtype=dtype)


def _plan_s(model: WorldModel, num_frames: int, imagination: ImaginationConfig) -> float:
    """Return the CPU time from frames to a plan [s]."""
    rng = numpy_generator_for(0, "planner")
    seen = torch.from_numpy(rng.integers(0, 256, (1, num_frames, *FRAME), dtype=np.uint8))
    goal = torch.from_numpy(rng.integers(0, 256, (1, *FRAME), dtype=np.uint8))
    start_s = time.process_time()
    goal_latents = model.encode(goal)
    evaluate = world_model_evaluate(
        model,
        model.encode_context(seen),
        latent_goal(goal_latents),
        goal_latents=goal_latents,
        step_s=STEP_S,
        config=imagination,
        generator=generator_for(0, "noise"),
    )
    Cem(SEARCH).plan(evaluate, PRIOR, generators=[generator_for(0, "planner")])
    return time.process_time() - start_s


if __name__ == "__main__":
    main()
