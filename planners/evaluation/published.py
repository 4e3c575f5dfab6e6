"""Published: results of others on NWM's tests, what they were made of, and whether ours compare with them.

The numbers are in `published.json`. Left out is what could be quoted from memory only: NWM's appendix (GNM,
NoMaD and Forward outside RECON, all of TartanDrive, Forward on RECON).
"""

import dataclasses
import enum
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

Row = TypeVar("Row")
SAME_SPACING = 0.01
"""Relative difference of spacings that are one unit; SCAND's 0.36 and 0.38 m are two."""


class Confidence(enum.Enum):
    """How sure it is that this was published."""

    high = "high"
    """Read in full text or code, or two independent sources agree."""
    medium = "medium"
    """One detailed source."""


class Caveat(enum.Enum):
    """What a reader of a published number should know; it bars no comparison by itself."""

    released_weights_differ = "released_weights_differ"
    weights_unreleased = "weights_unreleased"
    ranking_unreleased = "ranking_unreleased"
    second_hand = "second_hand"
    protocol_claimed = "protocol_claimed"
    windows_unstated = "windows_unstated"
    prior_decides = "prior_decides"
    prior_stands_still = "prior_stands_still"
    policy = "policy"
    reproduction = "reproduction"


CAVEATS: Mapping[Caveat, str] = {
    Caveat.released_weights_differ: "the released weights were trained again on frames with blurred faces, "
    "and are not those of the paper",
    Caveat.weights_unreleased: "its weights are not released",
    Caveat.ranking_unreleased: "its code for ranking is not released",
    Caveat.second_hand: "not read in the paper itself but in an independent account of it",
    Caveat.protocol_claimed: "it says that it follows NWM's protocol; its code was not read",
    Caveat.windows_unstated: "its windows are not stated, and may be others than NWM's 100",
    Caveat.prior_decides: "with one iteration the prior decides most of the error, and each has its own",
    Caveat.prior_stands_still: "its prior hardly moves here, so this is nearly the score of standing still",
    Caveat.policy: "a policy that plans no candidates",
    Caveat.reproduction: "an independent reproduction, not its authors' own run",
}


class Comparable(enum.Enum):
    """Whether a published number may stand beside ours."""

    yes = "yes"
    with_care = "with care"
    no = "no"


@dataclass(frozen=True, kw_only=True)
class PublishedPlanning:
    """ATE and RPE of one method on one data set [spacing]; None where the source does not say."""

    method: str
    data_set: str
    ate_spacing: float
    ate_deviation: float | None
    rpe_spacing: float
    rpe_deviation: float | None
    source: str
    confidence: Confidence
    num_candidates: int | None
    num_elites: int | None
    num_iterations: int | None
    num_repeats: int | None
    num_context: int | None
    windows: str | None
    spacing_m: float | None
    caveats: tuple[Caveat, ...]


@dataclass(frozen=True, kw_only=True)
class PublishedPrediction:
    """One metric of predicted frames of one method, at one time ahead."""

    method: str
    data_set: str
    kind: str
    """`time` (one jump) or `rollout at 4 fps`."""
    goal_s: float
    metric: str
    value: float
    source: str
    confidence: Confidence
    caveats: tuple[Caveat, ...]


@dataclass(frozen=True, kw_only=True)
class OurProtocol:
    """What our own rows were made with; None where it is not known."""

    data_set: str
    spacing_m: float
    num_context: int | None = None
    windows: str | None = None
    """In the words of the published rows: `NWM's 100 windows`."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a published row compares with ours, and why it does not, or not quite."""

    comparable: Comparable
    reasons: tuple[str, ...]


@functools.cache
def published_planning() -> tuple[PublishedPlanning, ...]:
    """Return the published planning results."""
    return tuple(_built(PublishedPlanning, row) for row in _content()["planning"])


@functools.cache
def published_prediction() -> tuple[PublishedPrediction, ...]:
    """Return the published results of video prediction."""
    return tuple(_built(PublishedPrediction, row) for row in _content()["prediction"])


def compare_planning(row: PublishedPlanning, ours: OurProtocol) -> Verdict:
    """Say whether a published planning result compares with ours, in units of spacing.

    Another data set, another or an unknown unit, other windows and another length of context bar it; caveats
    and what is unknown on either side ask for care.
    """
    if row.data_set != ours.data_set:
        return Verdict(
            comparable=Comparable.no,
            reasons=(f"on {row.data_set}, ours on {ours.data_set}: spacings of two sets are two units",),
        )
    bars, care = _units(row, ours)
    if None not in (row.num_context, ours.num_context) and row.num_context != ours.num_context:
        bars.append(f"it sees {row.num_context} frames of context, ours {ours.num_context}")
    if None not in (row.windows, ours.windows) and row.windows != ours.windows:
        bars.append(f"on {row.windows}, ours on {ours.windows}")
    if ours.windows is None:
        care.append("it is not said that ours are the same windows")
    care += [CAVEATS[caveat] for caveat in row.caveats]
    return _verdict(bars, care)


def compare_prediction(row: PublishedPrediction, *, data_set: str) -> Verdict:
    """Say whether published frame metrics compare with ours on a data set."""
    bars = [] if row.data_set == data_set else [f"on {row.data_set}, ours on {data_set}"]
    return _verdict(bars, [CAVEATS[caveat] for caveat in row.caveats])


def _units(row: PublishedPlanning, ours: OurProtocol) -> tuple[list[str], list[str]]:
    if row.spacing_m is None:
        return ["its spacing is not stated, and so its unit is not known"], []
    if abs(row.spacing_m / ours.spacing_m - 1) > SAME_SPACING:
        return [f"its unit is a spacing of {row.spacing_m:g} m, ours of {ours.spacing_m:.4g} m"], []
    return [], []


def _verdict(bars: list[str], care: list[str]) -> Verdict:
    level = Comparable.no if bars else Comparable.with_care if care else Comparable.yes
    return Verdict(comparable=level, reasons=tuple([*bars, *care]))


@functools.cache
def _content() -> dict[str, Any]:
    return json.loads(files("planners.evaluation").joinpath("published.json").read_text(encoding="utf-8"))


def _built(row_type: type[Row], content: dict[str, Any]) -> Row:
    """Build a row from the JSON that ships with us; another field, or one too few, is a TypeError."""
    hints = get_type_hints(row_type)
    values: dict[str, Any] = {}
    assert dataclasses.is_dataclass(row_type)
    for name, value in content.items():
        kind = hints[name]
        if kind is Confidence:
            values[name] = Confidence[value]
        elif name == "caveats":
            values[name] = tuple(Caveat[each] for each in value)
        else:
            allowed = get_args(kind) if isinstance(kind, UnionType) else (kind,)
            assert isinstance(value, allowed), f"published.json: {name} of {content} must be {kind}"
            values[name] = value
    return row_type(**values)
