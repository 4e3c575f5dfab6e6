"""The drive controller: which buttons move the player by a displacement in a given number of tics.

Doom's walk is known exactly, so nothing needs to be read back between two tics. In one tic, in map units,

    velocity += thrust;  position += velocity;  velocity *= 0.90625

with a thrust in whole 32nds of a unit, at most 50 of them, forward and to the side of the heading *after* this tic's turn.
The controller carries this model along and steers the velocity in each tic toward
(remaining displacement) / (remaining tics). It starts from rest. Against a wall, what happens differs from the model;
that is how a collision is noticed.
Source: `P_XYMovement`, `P_Thrust` and `P_MovePlayer` of ZDoom 2.8; measured to agree within 1 mm a step.
"""

import math
from dataclasses import dataclass

__all__ = ["TURNS", "UNITS_PER_M", "Place", "nudge_buttons", "plan_step", "turn_button"]

UNITS_PER_M = 32.0
"""Map units in a metre: the player is 56 units tall."""
TURNS = 65536
"""The engine's headings are whole 65536ths of a turn."""

_FRICTION = 0.90625
_THRUST_PER_UNIT = 32
_MAX_THRUST = 50
_NUM_FINE = 8192
_FINE_SHIFT = 3
# The engine looks sines up by the 13 highest bits of the heading.
_COS = [math.cos(2 * math.pi * index / _NUM_FINE) for index in range(_NUM_FINE)]
_SIN = [math.sin(2 * math.pi * index / _NUM_FINE) for index in range(_NUM_FINE)]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the player stands, in the engine's units: map units and 65536ths of a turn."""

    x: float
    y: float
    heading: int


def plan_step(
    place: Place, displacement: tuple[float, float, float], *, num_tics: int
) -> tuple[list[list[float]], Place]:
    """Plan the buttons of every tic of a step that starts at rest.

    Args:
        place: Where the step starts.
        displacement: (dx, dy, dyaw) in the robot frame at the start [m, m, rad].
        num_tics: How many tics the step takes.

    Returns:
        The buttons (forward, right, turn) of every tic, and where a free way ends.
    """
    dx, dy, dyaw = displacement
    heading = place.heading
    cos, sin = math.cos(2 * math.pi * heading / TURNS), math.sin(2 * math.pi * heading / TURNS)
    goal_x = place.x + UNITS_PER_M * (cos * dx - sin * dy)
    goal_y = place.y + UNITS_PER_M * (sin * dx + cos * dy)
    turn_per_tic = dyaw * TURNS / (2 * math.pi * num_tics)
    x, y, velocity_x, velocity_y = place.x, place.y, 0.0, 0.0
    buttons = []
    for tic in range(num_tics):
        next_heading = place.heading + round(turn_per_tic * (tic + 1))
        turn, heading = next_heading - heading, next_heading
        fine = (heading % TURNS) >> _FINE_SHIFT
        cos, sin = _COS[fine], _SIN[fine]
        num_left = num_tics - tic
        thrust_x = (goal_x - x) / num_left - velocity_x
        thrust_y = (goal_y - y) / num_left - velocity_y
        forward = round(_THRUST_PER_UNIT * (cos * thrust_x + sin * thrust_y))
        left = round(_THRUST_PER_UNIT * (cos * thrust_y - sin * thrust_x))
        forward = max(-_MAX_THRUST, min(_MAX_THRUST, forward))
        left = max(-_MAX_THRUST, min(_MAX_THRUST, left))
        velocity_x += (cos * forward - sin * left) / _THRUST_PER_UNIT
        velocity_y += (sin * forward + cos * left) / _THRUST_PER_UNIT
        x += velocity_x
        y += velocity_y
        velocity_x *= _FRICTION
        velocity_y *= _FRICTION
        buttons.append([forward, -left, turn_button(turn)])
    return buttons, Place(x, y, heading % TURNS)


def nudge_buttons(start: Place, goal: Place) -> list[float]:
    """Return the buttons of one tic that moves the player, at rest, to a place at most a unit away, without turning."""
    angle = 2 * math.pi * start.heading / TURNS
    x, y = (goal.x - start.x) / UNITS_PER_M, (goal.y - start.y) / UNITS_PER_M
    ahead = math.cos(angle) * x + math.sin(angle) * y
    left = math.cos(angle) * y - math.sin(angle) * x
    return plan_step(start, (ahead, left, 0.0), num_tics=1)[0][0]


def turn_button(turn: int) -> float:
    """Return the value of the turn button [degrees, positive to the right] for a left turn of `turn` 65536ths."""
    # The engine rounds left turns up; half a unit less makes it take exactly `turn`, whatever the rounding error.
    return -(turn - 0.5) * 360 / TURNS if turn else 0.0
