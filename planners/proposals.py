"""Proposals: candidates that a model writes itself after seeing the goal, ranked or searched on from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from data_tools.action_text import parse_actions
from planners.candidates import Prior, parameters_to
from planners.drawing import admit, prior_gaussian
from planners.plan import Evaluate, Plan, Planner
from planners.protocols import ActionProposer, WorldModel
from planners.ranking import best_of


def proposed_parameters(
    proposer: ActionProposer,
    world_model: WorldModel,
    context: Any,
    goal_frames: UInt8[Tensor, "problem height width 3"],
    prior: Prior,
    *,
    num_proposals: int,
    generators: Sequence[torch.Generator],
) -> Float[Tensor, "problem sample parameter"]:
    """Return what a model proposes as parameters of candidates.

    A proposal is one action over the whole horizon. Of the candidates that end where it does the one is taken
    that the prior's parameterisation has (`parameters_to`), cut to the prior's bounds and made to obey its
    constraints, as everything that a search draws.

    Args:
        proposer: Writes the actions.
        world_model: What made the context, and adds the goal to it.
        context: What `encode_context` made of the problems' context frames.
        goal_frames: Each problem's goal.
        prior: What candidates are.
        num_proposals: Proposals of each problem.
        generators: One random stream a problem; consumed.

    Returns:
        The parameters, in the order of the proposals.
    """
    texts = proposer.propose_actions(
        world_model.extend_context(context, goal_frames),
        num_proposals=num_proposals,
        duration_s=prior.horizon * prior.dt_s,
        generators=generators,
    )
    ends = np.stack([parse_actions(own)[:, :3] for own in texts])
    parameters = parameters_to(
        ends,
        parameterisation=prior.parameterisation,
        horizon=prior.horizon,
        num_points=prior.num_points,
    )
    around = prior_gaussian(prior, num_problems=len(texts))
    return admit(torch.from_numpy(parameters).to(prior.mean), around, prior, generators=generators)


class ProposedFirst:
    """A planner whose first population is proposals: the best of them starts another planner warm.

    The answer is that planner's, unless the best proposal costs less; both are then evaluated once more by
    the same function, the finer one if there is one, since a plan and a proposal may have been judged by
    different ones.
    """

    def __init__(self, planner: Planner, proposals: Float[Tensor, "problem sample parameter"]) -> None:
        self._planner, self._proposals = planner, proposals

    def plan(
        self,
        evaluate: Evaluate,
        prior: Prior,
        *,
        generators: Sequence[torch.Generator],
        warm_start: Float[Tensor, "problem parameter"] | None = None,
        refine: Evaluate | None = None,
    ) -> Plan:
        """Search one plan for each generator.

        Args:
            evaluate: The cost of candidates.
            prior: What the other planner draws its own candidates from.
            generators: One random stream a problem; consumed.
            warm_start: Parameters of an earlier plan: one more proposal, as far as the prior admits it.
            refine: A finer and slower evaluation, for the planner and for the choice of the answer.

        Returns:
            The plans; the proposals are the first iteration.

        Raises:
            ValueError: If there are proposals for another number of problems.
        """
        proposals = self._proposals
        if len(proposals) != len(generators):
            raise ValueError(
                f"needed proposals for each of {len(generators)} problems, got those of {len(proposals)}"
            )
        if warm_start is not None:
            around = prior_gaussian(prior, num_problems=len(proposals))
            given = warm_start.to(proposals)[:, None]
            proposals = torch.cat([proposals, admit(given, around, prior, generators=generators)], dim=1)
        ranked = best_of(proposals, evaluate, prior)
        found = self._planner.plan(
            evaluate, prior, generators=generators, warm_start=ranked.parameters, refine=refine
        )
        finalists = torch.stack([found.parameters, ranked.parameters], dim=1)
        chosen = best_of(finalists, refine or evaluate, prior)
        return replace(chosen, iterations=(*ranked.iterations, *found.iterations))
