"""The drive controller: which buttons move the player by a displacement in a given number of tics.

Doom's walk is known to the last bit, so nothing needs to be read back between two tics. In one tic, in 16.16
fixed point,

    velocity += thrust;  position += velocity;  velocity *= 0.90625

with a thrust in whole 32nds of a map unit, at most 50 of them, ahead and to the side of the heading
*after* this tic's turn. The controller carries this model along and steers the velocity in each tic toward
(remaining displacement) / (remaining tics), starting from rest. On a free way the player ends exactly where
the model says; against a wall, or in a fall, he does not, and that is how those are noticed.
Source: `P_XYMovement`, `P_Thrust`, `R_InitTables` of ZDoom 2.8; the tests compare bit by bit.
"""

import math
from dataclasses import dataclass

__all__ = ["STAND", "TURNS", "UNIT", "Place", "Step", "half_turn", "nudge", "plan_step", "turn_button"]

UNIT = 1 << 16
"""A map unit in the engine's fixed point."""
TURNS = 1 << 16
"""The engine's headings are whole 65536ths of a turn."""

Buttons = tuple[int, int, float, int]
"""Thrust ahead and to the right [32nds of a unit], turn to the right [degrees], and the brake."""
STAND: Buttons = (0, 0, 0.0, 1)
"""Brake: the velocity is zero before this tic's motion."""

_FIXED_PER_M = 32 * UNIT
_THRUST = UNIT // 32
_PER_THRUST = 1 / (_THRUST * UNIT)
_MAX_THRUST = 50
_FRICTION = 0xE800
_NUM_FINE = 8192
_RIGHT_ANGLE = _NUM_FINE // 4
_FINE_SHIFT = 3


def _sine_table() -> list[int]:
    """Return the engine's sines: its second quadrant is the mirrored first, one entry off."""
    quadrant = [int(UNIT * math.sin(2 * math.pi * index / _NUM_FINE)) for index in range(_RIGHT_ANGLE)]
    half = [*quadrant, UNIT, *quadrant[-2::-1]]
    return half + [-sine for sine in half]


_SIN = _sine_table()
_COS = _SIN[_RIGHT_ANGLE:] + _SIN[:_RIGHT_ANGLE]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the player stands: 65536ths of a map unit, and 65536ths of a turn."""

    x: int
    y: int
    heading: int


@dataclass(frozen=True, slots=True)
class Step:
    """The buttons of every tic, and the place where a free way ends; STAND has to follow, to stop there."""

    buttons: list[Buttons]
    end: Place


def plan_step(place: Place, displacement: tuple[float, float, float], *, num_tics: int) -> Step:
    """Plan a step that starts at rest.

    Args:
        place: Where it starts.
        displacement: (dx, dy, dyaw) in the robot frame at the start [m, m, rad].
        num_tics: How many tics it takes.

    Returns:
        The step; its end misses the displacement by less than 1 mm if the thrust suffices.
    """
    goal_x, goal_y = _goal(place, displacement)
    turn_per_tic = displacement[2] * TURNS / (2 * math.pi * num_tics)
    x, y, velocity_x, velocity_y, heading = place.x, place.y, 0, 0, place.heading
    buttons = []
    for tic in range(num_tics):
        next_heading = place.heading + round(turn_per_tic * (tic + 1))
        turn, heading = next_heading - heading, next_heading
        fine = (heading >> _FINE_SHIFT) % _NUM_FINE
        cos, sin = _COS[fine], _SIN[fine]
        num_left = num_tics - tic
        thrust_x = ((goal_x - x) / num_left - velocity_x) * _PER_THRUST
        thrust_y = ((goal_y - y) / num_left - velocity_y) * _PER_THRUST
        ahead, right = round(cos * thrust_x + sin * thrust_y), round(sin * thrust_x - cos * thrust_y)
        if not (-_MAX_THRUST <= ahead <= _MAX_THRUST and -_MAX_THRUST <= right <= _MAX_THRUST):
            ahead, right = _clip(ahead), _clip(right)
        # The engine rounds each product down, and looks up the side step a right angle off.
        push, side = ahead * _THRUST, right * _THRUST
        velocity_x += (push * cos >> 16) + (side * _COS[fine - _RIGHT_ANGLE] >> 16)
        velocity_y += (push * sin >> 16) + (side * _SIN[fine - _RIGHT_ANGLE] >> 16)
        x += velocity_x
        y += velocity_y
        velocity_x = velocity_x * _FRICTION >> 16
        velocity_y = velocity_y * _FRICTION >> 16
        buttons.append((ahead, right, turn_button(turn), 0))
    return Step(buttons, Place(x, y, heading % TURNS))


def nudge(place: Place, goal: Place) -> Step:
    """Plan the one tic that moves the player, at rest, to a goal at most a unit away, without turning."""
    angle = 2 * math.pi * place.heading / TURNS
    x_m, y_m = (goal.x - place.x) / _FIXED_PER_M, (goal.y - place.y) / _FIXED_PER_M
    ahead_m = math.cos(angle) * x_m + math.sin(angle) * y_m
    left_m = math.cos(angle) * y_m - math.sin(angle) * x_m
    return plan_step(place, (ahead_m, left_m, 0.0), num_tics=1)


def turn_button(turn: int) -> float:
    """Return the turn button's value [degrees, to the right] for a left turn of `turn` 65536ths."""
    # The engine rounds left turns up; half a unit less makes it take exactly `turn` despite rounding errors.
    return -(turn - 0.5) * 360 / TURNS if turn else 0.0


def half_turn(turn: int) -> int:
    """Return a turn modulo a whole one, between half a turn to the right and half a turn to the left."""
    return (turn + TURNS // 2) % TURNS - TURNS // 2


def _clip(thrust: int) -> int:
    return max(-_MAX_THRUST, min(_MAX_THRUST, thrust))


def _goal(place: Place, displacement: tuple[float, float, float]) -> tuple[float, float]:
    dx, dy, _ = displacement
    angle = 2 * math.pi * place.heading / TURNS
    cos, sin = _FIXED_PER_M * math.cos(angle), _FIXED_PER_M * math.sin(angle)
    return place.x + cos * dx - sin * dy, place.y + sin * dx + cos * dy
