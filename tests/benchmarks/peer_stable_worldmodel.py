"""The other side of `bench_planners`: searches of `stable-worldmodel` (PyPI, MIT), in its own interpreter.

Needs torch, numpy, gymnasium and loguru beside `stable-worldmodel`, which may be installed without its
dependencies: its package imports all environments and data formats, so only its solvers are imported here.
Answers `{"do": "plan", "method": ...}` on its input with the core-seconds of one search.
"""

import contextlib
import importlib
import importlib.util
import io
import json
import sys
import time
import types
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch


class FirstAction:
    """A cost that is nearly free: of the first three numbers."""

    goal = torch.tensor([0.1, 0.2, -0.3])
    weight = torch.tensor([1.0, 1.37, 0.71])

    def get_cost(self, info: dict[str, Any], actions: torch.Tensor) -> torch.Tensor:
        return (actions[..., 0, :3] - self.goal).square() @ self.weight


class Settings:
    """What the solvers read of a plan's settings: actions of five numbers, two to a block."""

    horizon, action_block, receding_horizon = 5, 2, 1


def make_solver(method: str, request: dict[str, Any]) -> Any:
    """Return a configured solver."""
    if "stable_worldmodel" not in sys.modules:
        spec = importlib.util.find_spec("stable_worldmodel")
        assert spec is not None and spec.origin is not None
        package = types.ModuleType("stable_worldmodel")
        package.__path__ = [str(Path(spec.origin).parent)]
        sys.modules["stable_worldmodel"] = package
    solvers = importlib.import_module("stable_worldmodel.solver")
    kind = {"cem": solvers.CEMSolver, "icem": solvers.ICEMSolver}[method]
    solver = kind(
        FirstAction(),
        batch_size=request["num_problems"],
        num_samples=request["num_candidates"],
        n_steps=request["num_iterations"],
        topk=request["num_elites"],
    )
    space = gymnasium.spaces.Box(-1, 1, (request["num_problems"], 5), np.float32)
    solver.configure(action_space=space, n_envs=request["num_problems"], config=Settings())
    return solver


def main() -> None:
    """Answer requests until the input ends."""
    torch.set_num_threads(1)
    solvers: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        method = request["method"]
        if method not in solvers:
            solvers[method] = make_solver(method, request)
        start_s = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            solvers[method].solve({"problem": torch.zeros(request["num_problems"], 1)})
        print(json.dumps({"core_s": time.process_time() - start_s}), flush=True)


if __name__ == "__main__":
    main()
