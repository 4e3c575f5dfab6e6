"""Action text: an action written as `action: dx=+0.335, dy=-0.020, dyaw=+0.120, dt=0.25`, and read again.

Metres, metres, radians, seconds, in the robot frame at the start of the action; three decimals, two for dt.
What is executed is what the text says, so floats are rounded through this form before they are imagined or
driven. The form is part of every checkpoint: changing it costs a retraining.
"""

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Float, Float64

UNITS_PER_ONE = np.array([1000.0, 1000.0, 1000.0, 100.0])
"""Units of the last decimal: thousandths of dx, dy, dyaw, hundredths of dt."""
LOWEST = np.array([-99.999, -99.999, -3.142, 0.0])
HIGHEST = np.array([99.999, 99.999, 3.142, 99.99])
"""What dx, dy [m], dyaw [rad] and dt [s] may be, after rounding. 3.142 is pi, rounded."""
RANGE = "|dx|, |dy| <= 99.999 m, |dyaw| <= 3.142 rad, 0 <= dt <= 99.99 s"
EXAMPLE = "action: dx=+0.335, dy=-0.020, dyaw=+0.120, dt=0.25"

_LINE: str = "action: dx=%+.3f, dy=%+.3f, dyaw=%+.3f, dt=%.2f\n"
# One text a number: no leading zeros, no -0.000.
_METRES = r"(?!-0\.000)([+-](?:0|[1-9][0-9]?)\.[0-9]{3})"
_RADIANS = r"(?!-0\.000)([+-][0-3]\.[0-9]{3})"
_SECONDS = r"((?:0|[1-9][0-9]?)\.[0-9]{2})"
_FORM = re.compile(rf"action: dx={_METRES}, dy={_METRES}, dyaw={_RADIANS}, dt={_SECONDS}")


@dataclass(frozen=True)
class Action:
    """A displacement in the robot frame of its start, and the time that it takes."""

    dx_m: float
    dy_m: float
    dyaw_rad: float
    dt_s: float


def format_action(action: Action) -> str:
    """Write one action as text, rounded; ValueError if it is out of range or not finite."""
    return format_actions(np.array([astuple(action)], dtype=np.float64))[0]


def parse_action(text: str) -> Action:
    """Read one action; ValueError unless the text is exactly what `format_action` writes."""
    return Action(*_numbers(text))


def format_actions(actions: Float[np.ndarray, "action 4"]) -> list[str]:
    """Write many actions as text, rounded; ValueError if any is out of range or not finite."""
    # One formatting call for all: 0.65 us a text where one f-string each takes 1.0 us.
    lines: str = _LINE * len(actions) % tuple(_round(actions).ravel().tolist())
    return lines.split("\n")[:-1]


def parse_actions(texts: Sequence[str]) -> Float64[np.ndarray, "action 4"]:
    """Read many actions; ValueError names the first text that is not an action."""
    return np.array([_numbers(text) for text in texts], dtype=np.float64).reshape(-1, 4)


def without_time(text: str) -> str:
    """Return an action's text up to its duration: what is asked of a model that may leave the time open.

    ValueError if it is no action.
    """
    return text[: _match(text).start(4) - len(", dt=")]


def round_actions(actions: Float[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
    """Return what the text of each action says, in the dtype that came: as if written and read again."""
    return _round(actions).astype(actions.dtype)


def _round(actions: Float[np.ndarray, "*batch 4"]) -> Float64[np.ndarray, "*batch 4"]:
    # float64, and the division last: k / 1000 is the double that its decimal is read as. + 0.0 removes -0.
    rounded = np.rint(actions.astype(np.float64) * UNITS_PER_ONE) / UNITS_PER_ONE + 0.0
    inside = ((rounded >= LOWEST) & (rounded <= HIGHEST)).all(axis=-1)
    if not inside.all():
        raise ValueError(
            f"{np.count_nonzero(~inside)} of {inside.size} actions cannot be written: the first is "
            f"(dx, dy, dyaw, dt) = {tuple(actions[~inside][0].tolist())}; the text holds finite {RANGE}"
        )
    return rounded


def _match(text: str) -> re.Match[str]:
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"not an action: {text[:100]!r}; the form is {EXAMPLE!r}, with {RANGE}")
    return found


def _numbers(text: str) -> tuple[float, float, float, float]:
    dx, dy, dyaw, dt = (float(number) for number in _match(text).groups())
    if abs(dyaw) > HIGHEST[2]:
        raise ValueError(f"dyaw={dyaw:+.3f} in {text!r} is more than half a turn; the text holds {RANGE}")
    return dx, dy, dyaw, dt
