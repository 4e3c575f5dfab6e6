"""Constraints: what a plan may not do, from code or from short texts, and penalties on what is imagined."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from data_tools.pose import integrate

TEXT_STEP = 1e-3
"""The last decimal of an action's text [m, rad]: limits of single numbers are cut down to it, so that what is
at its limit is still there after rounding."""
ROUNDING_M = TEXT_STEP / math.sqrt(2)
"""How far rounding moves (dx, dy)."""
TOLERANCE = 1e-6
"""What floats may be beyond a limit [m, rad]: far below what the text can say."""
FIRST_M = 0.05
"""How far ahead the first step leads under "forward first"."""

GRAMMAR = """\
no left turn | no right turn      no step turns to that side
forward only                      no step leads backward
forward first                     the first step leads at least 0.05 m ahead
stay within 0.5 m/s               no step is faster
stay within 0.8 rad/s | 45 deg/s  no step turns faster
stay within 2 m                   every step ends in the square of 2 m either way around the start
stay inside x -1 to 3 m, y -1 to 1 m   every step ends there, x ahead and y left of the start
"""
"""What `parse_constraints` understands; several are separated by semicolons."""

Actions = Float[Tensor, "*batch step 4"]


@dataclass(frozen=True)
class Limits:
    """What single motions (dx, dy, dyaw) may be.

    A range of each number, for the first motion and for later ones, and a largest distance.
    """

    low: Float[Tensor, "2 3"]
    high: Float[Tensor, "2 3"]
    radius_m: float = math.inf

    def within(self, *, axis: int, low: float = -math.inf, high: float = math.inf) -> "Limits":
        """Return the limits with a narrower range of one number, cut to what the text can say."""
        lows, highs = self.low.clone(), self.high.clone()
        lows[:, axis] = lows[:, axis].clamp_min(_cut_up(low))
        highs[:, axis] = highs[:, axis].clamp_max(-_cut_up(-high))
        return replace(self, low=lows, high=highs)

    def check(self, described: str) -> "Limits":
        """Return the limits, or refuse those that no motion meets."""
        nearest = torch.zeros_like(self.low).clamp(self.low, self.high)
        distance_m = nearest[:, :2].norm(dim=1).max().item()
        if (self.low > self.high).any() or distance_m > self.radius_m + TOLERANCE:
            raise ValueError(f"no motion obeys {described}; drop a constraint or widen it")
        return self

    def project(self, parameters: Float[Tensor, "*batch parameter"]) -> Float[Tensor, "*batch parameter"]:
        """Return parameters whose motions all meet the limits.

        Each number is cut to its range, then (dx, dy) is drawn towards the range's point nearest to standing
        still until it is near enough. That line stays in the ranges, so both hold in the end. Mixtures of
        motions within limits are within.
        """
        motions = parameters.unflatten(-1, (-1, 3))  # *batch point 3
        later = torch.arange(motions.shape[-2]).clamp(max=1)
        low, high = self.low.to(motions)[later], self.high.to(motions)[later]
        motions = torch.minimum(torch.maximum(motions, low), high)
        if math.isfinite(self.radius_m):
            nearest = torch.zeros_like(low).clamp(low, high)[..., :2].expand(motions[..., :2].shape)
            motions = torch.cat([self._shorten(motions[..., :2], nearest), motions[..., 2:]], dim=-1)
        return motions.flatten(-2)

    def _shorten(self, position: Tensor, nearest: Tensor) -> Tensor:
        """Solve |nearest + share (position - nearest)| = radius for the share, at most 1."""
        radius_m = max(self.radius_m - ROUNDING_M, 0.0)
        way = position - nearest
        a = way.square().sum(-1).clamp_min(torch.finfo(way.dtype).tiny)
        b, c = (nearest * way).sum(-1), nearest.square().sum(-1) - radius_m**2
        share = (((b.square() - a * c).clamp_min(0).sqrt() - b) / a).clamp(0, 1)
        return torch.where(
            (position.norm(dim=-1) > radius_m)[..., None], nearest + share[..., None] * way, position
        )


@runtime_checkable
class Constraint(Protocol):
    """A rule for candidates."""

    def allows(self, actions: Actions, *, step_s: float) -> Bool[Tensor, " *batch"]:
        """Return which candidates obey, by what their text says; `step_s` is the true time of a step [s]."""
        ...

    def narrow(self, limits: Limits, *, step_s: float) -> Limits:
        """Return the limits that single motions must meet to obey, as far as that can be said so."""
        ...


@dataclass(frozen=True)
class MaxSpeed:
    """No step is faster than `speed_m_s` [m/s]."""

    speed_m_s: float

    def __str__(self) -> str:
        return f"stay within {self.speed_m_s} m/s"

    def allows(self, actions: Actions, *, step_s: float) -> Bool[Tensor, " *batch"]:
        """See `Constraint`."""
        return (actions[..., :2].norm(dim=-1) <= self.speed_m_s * step_s + TOLERANCE).all(dim=-1)

    def narrow(self, limits: Limits, *, step_s: float) -> Limits:
        """See `Constraint`."""
        return replace(limits, radius_m=min(limits.radius_m, self.speed_m_s * step_s))


@dataclass(frozen=True)
class Range:
    """Each step's dx, dy or dyaw lies in a range, either end per second if `per_second`.

    Args:
        axis: 0, 1, 2 for dx [m], dy [m], dyaw [rad].
        low: Least value.
        high: Largest value.
        text: How it is said.
        per_second: The ends are [m/s] or [rad/s].
    """

    axis: int
    low: float
    high: float
    text: str
    per_second: bool = False

    def __str__(self) -> str:
        return self.text

    def allows(self, actions: Actions, *, step_s: float) -> Bool[Tensor, " *batch"]:
        """See `Constraint`."""
        low, high = self._ends(step_s)
        number = actions[..., self.axis]
        return ((number >= low - TOLERANCE) & (number <= high + TOLERANCE)).all(dim=-1)

    def narrow(self, limits: Limits, *, step_s: float) -> Limits:
        """See `Constraint`."""
        low, high = self._ends(step_s)
        return limits.within(axis=self.axis, low=low, high=high)

    def _ends(self, step_s: float) -> tuple[float, float]:
        scale = step_s if self.per_second else 1.0
        return scale * self.low, scale * self.high


NO_LEFT_TURN = Range(2, -math.inf, 0.0, "no left turn")
NO_RIGHT_TURN = Range(2, 0.0, math.inf, "no right turn")
FORWARD_ONLY = Range(0, 0.0, math.inf, "forward only")


def max_turn_rate(rate_rad_s: float) -> Range:
    """Return the rule that no step turns faster [rad/s]."""
    return Range(2, -rate_rad_s, rate_rad_s, f"stay within {rate_rad_s} rad/s", per_second=True)


@dataclass(frozen=True)
class ForwardFirst:
    """The first step leads at least `FIRST_M` ahead, whatever the later ones do."""

    def __str__(self) -> str:
        return "forward first"

    def allows(self, actions: Actions, *, step_s: float) -> Bool[Tensor, " *batch"]:
        """See `Constraint`."""
        return actions[..., 0, 0] >= FIRST_M - TOLERANCE

    def narrow(self, limits: Limits, *, step_s: float) -> Limits:
        """See `Constraint`."""
        low = limits.low.clone()
        low[0, 0] = low[0, 0].clamp_min(FIRST_M)
        return replace(limits, low=low)


@dataclass(frozen=True)
class InsideBox:
    """Every step ends in a box, x ahead and y left of the start [m]; so does the way between two steps."""

    low_x_m: float
    high_x_m: float
    low_y_m: float
    high_y_m: float

    def __str__(self) -> str:
        return f"stay inside x {self.low_x_m} to {self.high_x_m} m, y {self.low_y_m} to {self.high_y_m} m"

    def allows(self, actions: Actions, *, step_s: float) -> Bool[Tensor, " *batch"]:
        """See `Constraint`."""
        poses = integrate(actions[..., :3].numpy(force=True).astype(np.float64))
        low = np.array([self.low_x_m, self.low_y_m]) - TOLERANCE
        high = np.array([self.high_x_m, self.high_y_m]) + TOLERANCE
        is_inside = ((poses[..., :2] >= low) & (poses[..., :2] <= high)).all(axis=(-1, -2))
        return torch.from_numpy(np.asarray(is_inside)).to(actions.device)

    def narrow(self, limits: Limits, *, step_s: float) -> Limits:
        """See `Constraint`: where a step ends depends on all before it."""
        return limits


@dataclass(frozen=True)
class Rule:
    """Any rule, from code: `predicate` tells which candidates obey; `text` says it in errors."""

    text: str
    predicate: Callable[[Actions], Bool[Tensor, " *batch"]]

    def __str__(self) -> str:
        return self.text

    def allows(self, actions: Actions, *, step_s: float) -> Bool[Tensor, " *batch"]:
        """See `Constraint`."""
        return self.predicate(actions)

    def narrow(self, limits: Limits, *, step_s: float) -> Limits:
        """See `Constraint`: nothing is known of single motions."""
        return limits


def limits_of(
    constraints: Sequence[Constraint], *, most: tuple[float, float, float], step_s: float
) -> Limits:
    """Return what single motions may be under all constraints; ValueError if there is none.

    Args:
        constraints: The rules.
        most: Largest dx [m], dy [m], dyaw [rad] either way, whatever the rules.
        step_s: True time of one step [s].

    Returns:
        The limits, which some motion meets.
    """
    high = torch.tensor([most, most], dtype=torch.float64)
    limits = Limits(low=-high, high=high)
    for constraint in constraints:
        limits = constraint.narrow(limits, step_s=step_s)
    return limits.check("; ".join(str(each) for each in constraints))


def allowed(actions: Actions, constraints: Sequence[Constraint], *, step_s: float) -> Bool[Tensor, " *batch"]:
    """Return which candidates obey all constraints."""
    found = torch.ones(actions.shape[:-2], dtype=torch.bool, device=actions.device)
    for constraint in constraints:
        found &= constraint.allows(actions, step_s=step_s)
    return found


def parse_constraints(text: str) -> tuple[Constraint, ...]:
    """Read constraints, separated by semicolons; ValueError lists what is understood (`GRAMMAR`)."""
    return tuple(_parse(" ".join(each.lower().split())) for each in text.split(";") if each.strip())


_NUMBER = r"(-?\d+(?:\.\d+)?)"
_WITHIN = re.compile(rf"stay within {_NUMBER} (m/s|rad/s|deg/s|m)")
_INSIDE = re.compile(rf"stay inside x {_NUMBER} to {_NUMBER} m, y {_NUMBER} to {_NUMBER} m")
_PLAIN: dict[str, Constraint] = {
    str(each): each for each in (NO_LEFT_TURN, NO_RIGHT_TURN, FORWARD_ONLY, ForwardFirst())
}


def _parse(text: str) -> Constraint:
    if text in _PLAIN:
        return _PLAIN[text]
    if found := _INSIDE.fullmatch(text):
        box = InsideBox(*(float(number) for number in found.groups()))
        if box.low_x_m <= box.high_x_m and box.low_y_m <= box.high_y_m:
            return box
    elif (found := _WITHIN.fullmatch(text)) and (most := float(found[1])) >= 0:
        match found[2]:
            case "m/s":
                return MaxSpeed(most)
            case "rad/s":
                return max_turn_rate(most)
            case "deg/s":
                return max_turn_rate(math.radians(most))
            case "m":
                return InsideBox(-most, most, -most, most)
            case _:
                pass
    raise ValueError(f"{text!r} is not a constraint; understood are\n{GRAMMAR}")


Latents = Float[Tensor, "problem sample token channel"]
Costs = Float[Tensor, "problem sample"]


def penalised(
    goal: Callable[[Latents], Costs], penalty: Callable[[Latents], Costs]
) -> Callable[[Latents], Costs]:
    """Return a cost of imagined latents with a penalty added: what a plan had better not lead to.

    Args:
        goal: The cost of imagined latents, such as `latent_goal` returns.
        penalty: Another, finite and at least 0; ValueError when it is not.

    Returns:
        Their sum, as a cost of imagined latents.
    """

    def cost(latents: Latents) -> Costs:
        added = penalty(latents)
        num_bad = int((~(added.isfinite() & (added >= 0))).sum())
        if num_bad:
            raise ValueError(
                f"a penalty must be finite and at least 0; {num_bad} of {added.numel()} are not. "
                "Take absolute values, or clamp it at 0."
            )
        return goal(latents) + added.to(latents)

    return cost


def _cut_up(limit: float) -> float:
    """Return the least number at or above a limit that the text can say."""
    return math.ceil(limit / TEXT_STEP - TOLERANCE) * TEXT_STEP if math.isfinite(limit) else limit
