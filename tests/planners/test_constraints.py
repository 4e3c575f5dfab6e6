import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.pose import integrate
from planners.candidates import Parameterisation, to_actions
from planners.cem import CemConfig
from planners.constraints import (
    FIRST_M,
    FORWARD_ONLY,
    GRAMMAR,
    NO_LEFT_TURN,
    NO_RIGHT_TURN,
    ForwardFirst,
    InsideBox,
    MaxSpeed,
    allowed,
    limits_of,
    max_turn_rate,
    parse_constraints,
    penalised,
)
from planners.icem import IcemConfig
from planners.mppi import MppiConfig
from planners.random_shooting import RandomShootingConfig
from planners.search import SearchMethod, make_planner
from tests.planners.quadratic import Choice, generators, make_prior, make_targets, quadratic

STEP_S = 9 / 35
MOST = (0.6, 0.6, 1.0)
SMALL = Choice(
    method=SearchMethod.cem,
    cem=CemConfig(num_candidates=12, num_elites=3, num_iterations=2),
    icem=IcemConfig(num_candidates=12, num_elites=3, num_iterations=2),
    mppi=MppiConfig(num_candidates=12, num_effective=3.0, num_iterations=2),
    random_shooting=RandomShootingConfig(num_candidates=12),
)
CONSTRAINTS = st.one_of(
    st.sampled_from([NO_LEFT_TURN, NO_RIGHT_TURN, FORWARD_ONLY, ForwardFirst()]),
    st.floats(0.3, 3.0).map(MaxSpeed),
    st.floats(0.0, 4.0).map(max_turn_rate),
    st.builds(
        InsideBox, st.floats(-2.0, -0.02), st.floats(0.3, 2.0), st.floats(-2.0, -0.1), st.floats(0.1, 2.0)
    ),
)


def _actions(*motions):
    """Return one candidate: its steps (dx, dy, dyaw)."""
    steps = torch.tensor(motions, dtype=torch.float64)
    return torch.cat([steps, torch.full((len(motions), 1), 0.26, dtype=torch.float64)], dim=1)


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("no left turn", [(0.1, 0, 0), (0, 0, -0.5)], [(0.1, 0, -0.2), (0, 0, 0.001)]),
        ("no right turn", [(0.1, 0, 0), (0, 0, 0.5)], [(0.1, 0, 0.2), (0, 0, -0.001)]),
        ("forward only", [(0.0, 0.2, 0), (0.5, 0, 0)], [(0.3, 0, 0), (-0.001, 0, 0)]),
        ("forward first", [(0.05, 0, 0), (-0.5, 0, 0)], [(0.049, 0, 0), (0.5, 0, 0)]),
        ("stay within 0.5 m/s", [(0.1, 0.07, 0), (0.128, 0, 2)], [(0.1, 0, 0), (0.1, 0.09, 0)]),
        ("stay within 45 deg/s", [(0, 0, 0.2), (0, 0, -0.201)], [(0, 0, 0.203), (0, 0, 0)]),
        ("stay within 1 m", [(0.6, 0, 1.5708), (0.6, 0, 0)], [(0.6, 0, 0), (0.6, 0, 0)]),
        (
            "stay inside x -1 to 3 m, y -1 to 0.5 m",
            [(0, 0, -1.5708), (0.9, 0, 0)],
            [(0, 0, 1.5708), (0.6, 0, 0)],
        ),
    ],
)
def test_what_each_rule_allows(text, good, bad):
    rules = parse_constraints(text)
    both = torch.stack([_actions(*good), _actions(*bad)])
    assert allowed(both, rules, step_s=STEP_S).tolist() == [True, False]


def test_texts_are_read_as_they_are_written():
    rules = (
        NO_LEFT_TURN,
        NO_RIGHT_TURN,
        FORWARD_ONLY,
        ForwardFirst(),
        MaxSpeed(0.5),
        max_turn_rate(0.8),
        InsideBox(-1.0, 3.0, -0.5, 0.25),
    )
    assert parse_constraints("; ".join(str(each) for each in rules)) == rules
    assert parse_constraints("  No  LEFT turn ;") == (NO_LEFT_TURN,)
    assert parse_constraints("stay within 2 m") == (InsideBox(-2.0, 2.0, -2.0, 2.0),)
    assert parse_constraints("stay within 90 deg/s") == (max_turn_rate(math.pi / 2),)
    assert parse_constraints("") == ()


def test_every_line_of_the_grammar_is_understood():
    for line in GRAMMAR.strip().splitlines():
        for text in line.split("  ")[0].split(" | "):
            given_text = text if text[0] in "nfs" else f"stay within {text}"
            assert len(parse_constraints(given_text)) == 1


@pytest.mark.parametrize(
    "text",
    ["no left", "stay within 5", "stay within -1 m/s", "stay inside x 1 to 0 m, y 0 to 1 m", "forward"],
)
def test_other_texts_are_refused_with_what_is_understood(text):
    with pytest.raises(ValueError, match=r"is not a constraint; understood are\nno left turn") as refusal:
        parse_constraints(f"no left turn; {text}")
    assert repr(text) in str(refusal.value) and GRAMMAR in str(refusal.value)


def test_a_motion_is_projected_by_hand():
    """Ahead at least 0.05 m, at most 0.2 m far: (-0.3, 0.4) is cut to (0.05, 0.4), then drawn to the circle
    on the way to (0.05, 0): (0.05, sqrt(0.04 - 0.0025)), less what rounding may add.
    """
    limits = limits_of((ForwardFirst(), MaxSpeed(0.8)), most=MOST, step_s=0.25)
    projected = limits.project(torch.tensor([-0.3, 0.4, 2.0, -0.3, 0.0, 0.0]).double())
    radius = 0.2 - 1e-3 / math.sqrt(2)
    expected = [FIRST_M, math.sqrt(radius**2 - FIRST_M**2), 1.0, -radius, 0.0, 0.0]
    np.testing.assert_allclose(projected.numpy(), expected, atol=1e-12)


@given(st.lists(CONSTRAINTS, max_size=4), st.integers(0, 1000), st.sampled_from(list(Parameterisation)))
@settings(deadline=None, max_examples=60)
def test_projection_meets_the_limits_and_leaves_what_meets_them(constraints, seed, parameterisation):
    prior = replace(make_prior(parameterisation), dt_s=STEP_S)
    limits = limits_of(constraints, most=MOST, step_s=STEP_S)
    drawn = torch.randn(50, len(prior.mean), generator=torch.Generator().manual_seed(seed)).double()
    projected = limits.project(drawn)
    boxless = [each for each in constraints if not isinstance(each, InsideBox)]
    assert allowed(to_actions(projected, prior), boxless, step_s=STEP_S).all()
    torch.testing.assert_close(limits.project(projected), projected, rtol=0, atol=1e-12)


@given(
    st.lists(CONSTRAINTS, max_size=3),
    st.integers(0, 1000),
    st.sampled_from(list(Parameterisation)),
    st.sampled_from(list(SearchMethod)),
)
@settings(deadline=None, max_examples=80)
def test_plans_obey_whatever_they_are_told(constraints, seed, parameterisation, method):
    prior = replace(make_prior(parameterisation), dt_s=STEP_S, constraints=tuple(constraints))
    evaluate = quadratic(make_targets(prior, 2), prior)
    planner = make_planner(replace(SMALL, method=method))
    plan = planner.plan(evaluate, prior, generators=generators(seed, seed + 1))
    everything = [plan.actions[:, None], *(each.candidates for each in plan.iterations)]
    for actions in everything:
        assert allowed(actions, constraints, step_s=STEP_S).all()
    for box in (each for each in constraints if isinstance(each, InsideBox)):
        poses = integrate(plan.actions[..., :3].numpy())
        assert (poses[..., 0] <= box.high_x_m + 1e-6).all() and (poses[..., 1] >= box.low_y_m - 1e-6).all()


def test_rules_that_no_motion_obeys_are_refused():
    with pytest.raises(ValueError, match=r"no motion obeys forward first; stay within 0.1 m/s; drop"):
        limits_of(parse_constraints("forward first; stay within 0.1 m/s"), most=MOST, step_s=0.25)
    prior = make_prior(constraints=parse_constraints("forward first; stay within 0.01 m"))
    planner = make_planner(SMALL)
    with pytest.raises(ValueError, match=r"no candidate of 1 of 1 problems obeys forward first; stay inside"):
        planner.plan(quadratic(make_targets(prior, 1), prior), prior, generators=generators(0))


def test_a_penalty_is_added():
    def goal(latents):
        return latents[..., 0, 0]

    latents = torch.arange(12.0).reshape(1, 2, 2, 3)  # problem sample token channel
    cost = penalised(goal, lambda imagined: imagined.amax(dim=(-1, -2)))
    assert cost(latents).tolist() == [[0.0 + 5.0, 6.0 + 11.0]]


def test_a_reward_is_no_penalty():
    latents = torch.zeros(1, 3, 1, 1)
    cost = penalised(lambda each: each[..., 0, 0], lambda _: torch.tensor([[0.0, -1.0, math.nan]]))
    with pytest.raises(ValueError, match=r"at least 0; 2 of 3 are not"):
        cost(latents)
