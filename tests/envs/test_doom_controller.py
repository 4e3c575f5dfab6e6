import math

import numpy as np
import pytest

from envs.doom_controller import TURNS, UNIT, Place, half_turn, nudge, plan_step, turn_button

_M = 32 * UNIT


def _drawn(number: int) -> tuple[Place, tuple[float, float, float]]:
    rng = np.random.default_rng(number)
    x, y, heading = rng.integers([-(2**27), -(2**27), 0], [2**27, 2**27, TURNS]).tolist()
    place = Place(x, y, heading)
    dx, dy, dyaw = rng.uniform([-0.6, -0.6, -1.0], [0.6, 0.6, 1.0]).tolist()
    return place, (dx, dy, dyaw)


@pytest.mark.parametrize("number", range(7))
def test_a_free_step_ends_within_a_millimetre_of_the_displacement(number):
    place, (dx, dy, dyaw) = _drawn(number)
    end = plan_step(place, (dx, dy, dyaw), num_tics=8).end
    yaw = 2 * math.pi * place.heading / TURNS
    assert (end.x - place.x) / _M == pytest.approx(math.cos(yaw) * dx - math.sin(yaw) * dy, abs=1e-3)
    assert (end.y - place.y) / _M == pytest.approx(math.sin(yaw) * dx + math.cos(yaw) * dy, abs=1e-3)
    assert half_turn(end.heading - place.heading) * 2 * math.pi / TURNS == pytest.approx(dyaw, abs=1e-4)


def test_standing_still_presses_nothing():
    step = plan_step(Place(5, -7, 11), (0.0, 0.0, 0.0), num_tics=3)
    assert step.buttons == [(0, 0, 0.0, 0)] * 3
    assert step.end == Place(5, -7, 11)


def test_one_tic_by_hand():
    # 2 units ahead at heading 0 need a thrust of 64/32; the engine gives at most 50/32 = 1.5625 units.
    step = plan_step(Place(0, 0, 0), (2 / 32, 0.0, 0.0), num_tics=1)
    assert step.buttons == [(50, 0, 0.0, 0)]
    assert step.end == Place(int(1.5625 * UNIT), 0, 0)


def test_turns_are_whole_and_spread_over_the_tics():
    step = plan_step(Place(0, 0, 0), (0.0, 0.0, math.pi / 3), num_tics=5)
    turns = [math.ceil(-button * TURNS / 360) for _, _, button, _ in step.buttons]
    assert sum(turns) == step.end.heading == round(TURNS / 6)
    assert max(turns) - min(turns) <= 1


@pytest.mark.parametrize("turn", [-30000, -1, 1, 5461])
def test_the_engine_rounds_a_turn_button_up_to_the_turn(turn):
    assert math.ceil(-turn_button(turn) * TURNS / 360) == turn


@pytest.mark.parametrize("number", range(5))
def test_a_nudge_misses_by_less_than_a_millimetre(number):
    place, _ = _drawn(number)
    goal = Place(place.x + UNIT // 3, place.y - UNIT // 2, place.heading)
    end = nudge(place, goal).end
    assert math.hypot(end.x - goal.x, end.y - goal.y) / _M < 1e-3
    assert end.heading == place.heading
