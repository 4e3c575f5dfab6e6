"""Command text: motions in plain language, `turn left 30 degrees, then go forward one metre`, both ways.

`describe_motion` words a displacement in many ways, some of which are held out of training to test language
that a model has never seen. `parse_command` reads all of them, and more: lists, digits or words, and the keys
w a s d.
"""

import math
import re

import numpy as np
from jaxtyping import Float, Float64

from data_tools.number_words import decimal_to_words, is_number_word, read_number, to_words

MAX_LENGTH_M = 99.999
MAX_DESCRIBED_M = 99.0
LEAST_BEARING_M = 0.25
"""Shortest motion that is worded as `turn there, go, turn`: below, the first turn would be all noise."""
MAX_TURN_DEG = 180.0
MAX_CHARACTERS = 10_000
KEY_STEP_M = 0.25
KEY_TURN_DEG = 15.0
"""What one press of a key does: w and s step forward and back, q and e aside; a and d turn."""

# Per motion: wordings for training, and wordings that are held out.
_Wordings = tuple[tuple[str, ...], tuple[str, ...]]
_FORWARD: _Wordings = (
    ("go forward {}", "move forward {}", "drive {} forward", "go {} straight ahead", "walk ahead for {}"),
    ("advance {}", "proceed onward {}", "roll straight on for {}"),
)
_BACK: _Wordings = (
    ("go back {}", "move backward {}", "drive {} backwards", "back up {}"),
    ("reverse {}", "retreat by {}"),
)
_ASIDE: _Wordings = (
    ("step {side} {}", "move {} to the {side}", "step {} to your {side}"),
    ("sidestep {side} {}", "strafe {} to the {side}", "shift {side} by {}"),
)
_TURN: _Wordings = (
    ("turn {side} {}", "turn {} to the {side}", "rotate {side} by {}", "rotate {} {clock}"),
    ("pivot {side} {}", "spin {} to your {side}", "swing {side} through {}"),
)
_TURN_AROUND: _Wordings = (("turn around",), ("about face",))
_WHILE_TURNING: _Wordings = (
    (" while turning {side} {}", " while turning {} to the {side}"),
    (" while curving {side} by {}", " while veering {side} through {}"),
)
_STILL: _Wordings = (("stay where you are", "do not move", "wait"), ("hold position", "stand still"))
_LINKS = (", then ", " and then ", ", ", "; ", " then ")

_TRANSLATIONS = {
    **dict.fromkeys("forward forwards ahead straight on onward onwards advance".split(), (1.0, 0.0)),
    **dict.fromkeys("back backward backwards reverse retreat".split(), (-1.0, 0.0)),
    "left": (0.0, 1.0),
    "right": (0.0, -1.0),
}
_ROTATIONS = {"left": 1.0, "counterclockwise": 1.0, "anticlockwise": 1.0, "right": -1.0, "clockwise": -1.0}
_MOVE_VERBS = set(
    "go move drive walk step head travel roll proceed continue advance sidestep strafe shift slide".split()
)
_TURN_VERBS = set("turn rotate pivot spin swing turning curving veering rotating bearing".split())
_FIRST_WORDS = _MOVE_VERBS | _TURN_VERBS | _TRANSLATIONS.keys() | _ROTATIONS.keys() | {"wait", "stay", "stop"}
_FILLERS = set("to the your by for through in up please now make of a an".split())
_STILL_WORDS = {*_STILL[0], *_STILL[1], "stop", "stay", "stand"}
_METRES = {
    **dict.fromkeys("m metre metres meter meters".split(), 1.0),
    **dict.fromkeys("cm centimetre centimetres centimeter centimeters".split(), 0.01),
}
_DEGREES = {
    **dict.fromkeys("° deg degree degrees".split(), 1.0),
    **dict.fromkeys("rad radian radians".split(), 180 / math.pi),
}
_KEYS = {
    "w": (KEY_STEP_M, 0.0, 0.0),
    "s": (-KEY_STEP_M, 0.0, 0.0),
    "q": (0.0, KEY_STEP_M, 0.0),
    "e": (0.0, -KEY_STEP_M, 0.0),
    "a": (0.0, 0.0, math.radians(KEY_TURN_DEG)),
    "d": (0.0, 0.0, -math.radians(KEY_TURN_DEG)),
}
_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)?|[a-z]+|°")
# A bare `and` joins only before a word that can begin a command: `one and a half` holds one too.
_SEPARATOR = re.compile(
    r"[,;]\s*(?:and\s+)?(?:then\s+)?|\s(?:and\s+)?then\s+"
    rf"|\s+and\s+(?=(?:{'|'.join(sorted(_FIRST_WORDS))})\b)"
)
_EXAMPLE = "'turn left 30 degrees, then go forward 1.5 metres', or keys such as 'w w a'"


def describe_motion(
    displacement: Float[np.ndarray, " 3"],
    *,
    rng: np.random.Generator,
    held_out: bool,
    length_cm: int = 1,
    turn_deg: int = 1,
) -> str:
    """Word a displacement, lengths rounded to `length_cm`, turns to `turn_deg`; zeros are left out.

    The wording is one of those held out of training, or none of them. At the default rounding, the motions
    that `parse_command` reads from it compose to the displacement within 1 cm + 1% of its length, and half a
    degree. ValueError if it is not finite or longer than MAX_DESCRIBED_M.
    """
    if not np.isfinite(displacement).all() or np.hypot(*displacement[:2]) > MAX_DESCRIBED_M:
        raise ValueError(
            f"finite motions up to {MAX_DESCRIBED_M} m are described; got {displacement.tolist()}"
        )
    if length_cm < 1 or turn_deg < 1 or 180 % turn_deg:
        raise ValueError(
            f"rounding needs length_cm >= 1 and a divisor of 180; got {length_cm} and {turn_deg}"
        )
    writer = _Writer(rng, int(held_out), length_cm, turn_deg)
    plans = [_along_axes(displacement)]
    if np.hypot(*displacement[:2]) >= LEAST_BEARING_M:
        plans.append(_along_bearing(displacement, turn_deg))
    clauses = plans[rng.integers(len(plans))]
    arc = _as_arc(displacement, length_cm, turn_deg)
    if arc is not None and rng.random() < 0.5:
        return writer.arc(*arc)
    texts = [text for text in (writer.clause(*clause) for clause in clauses) if text]
    link = _LINKS[rng.integers(len(_LINKS))]
    return link.join(texts) if texts else writer.pick(_STILL)


def parse_command(text: str) -> list[Float64[np.ndarray, " 3"]]:
    """Read a command as displacements, one after the other, each in the robot frame in which it begins.

    A list is joined by `then`, `and then`, commas or semicolons; `while turning` makes an arc of constant
    curvature. A press of a key is a motion of its own: w and s step KEY_STEP_M, q and e step aside, a and d
    turn KEY_TURN_DEG; different keys stand apart, as in `ww a`. ValueError names the part that is not
    understood, asks for a missing distance or angle, and refuses distances above MAX_LENGTH_M and turns above
    MAX_TURN_DEG.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"a command has up to {MAX_CHARACTERS} characters; this one has {len(text)}")
    plain = re.sub(r"\b(counter|anti)[- ]clockwise", r"\1clockwise", text.lower().strip().rstrip(".!"))
    plain = re.sub(
        r"\b(?:a )?(half|quarter)(?: a| of a)? turn\b",
        _turn_to_degrees,
        re.sub(r"(?<=[a-z])-(?=[a-z])", " ", plain),
    )
    if not plain:
        raise ValueError(f"an empty command; write for example {_EXAMPLE}")
    return [motion for clause in _SEPARATOR.split(plain) for motion in _parse_clause(clause.strip(), text)]


_Clause = tuple[str, float]
"""What moves (`x`, `y` or `yaw`), and how far [m or deg], signed."""


def _along_axes(displacement: Float[np.ndarray, " 3"]) -> list[_Clause]:
    dx_m, dy_m, dyaw_rad = displacement.tolist()
    return [("x", dx_m), ("y", dy_m), ("yaw", _half_turn(math.degrees(dyaw_rad)))]


def _along_bearing(displacement: Float[np.ndarray, " 3"], turn_deg: int) -> list[_Clause]:
    """Turn towards the end (or away from it, to go backwards), go there, and turn to its heading."""
    dx_m, dy_m, dyaw_rad = displacement.tolist()
    sign = -1.0 if dx_m < 0 else 1.0
    bearing_deg = math.degrees(math.atan2(sign * dy_m, sign * dx_m))
    bearing_deg = float(turn_deg * round(bearing_deg / turn_deg))
    rest_deg = _half_turn(math.degrees(dyaw_rad) - bearing_deg)
    return [("yaw", bearing_deg), ("x", sign * math.hypot(dx_m, dy_m)), ("yaw", rest_deg)]


def _as_arc(
    displacement: Float[np.ndarray, " 3"], length_cm: int, turn_deg: int
) -> tuple[float, float] | None:
    """Return length [m] and turn [deg] of the arc that makes this displacement, or None if none does."""
    dx_m, dy_m, dyaw_rad = displacement.tolist()
    chord_m, half_rad = math.hypot(dx_m, dy_m), math.radians(_half_turn(math.degrees(dyaw_rad))) / 2
    length_m = math.copysign(chord_m / np.sinc(half_rad / math.pi), dx_m)
    length_m = length_cm / 100 * round(length_m * 100 / length_cm)
    rounded_deg = float(turn_deg * round(math.degrees(2 * half_rad) / turn_deg))
    if length_m == 0 or rounded_deg == 0 or abs(length_m) > MAX_LENGTH_M:
        return None
    error_m = math.dist(_arc(length_m, rounded_deg)[:2], (dx_m, dy_m))
    return (length_m, rounded_deg) if error_m <= 0.01 + 0.01 * chord_m else None


def _arc(length_m: float, turn_deg: float) -> tuple[float, float, float]:
    """Drive `length_m` along a circle while turning: (L sin(t)/t, L (1 - cos(t))/t, t)."""
    turn_rad = math.radians(turn_deg)
    chord_m = length_m * float(np.sinc(turn_rad / 2 / math.pi))
    return chord_m * math.cos(turn_rad / 2), chord_m * math.sin(turn_rad / 2), turn_rad


def _half_turn(angle_deg: float) -> float:
    return (angle_deg + 180.0) % 360.0 - 180.0


class _Writer:
    """Chooses wordings and numbers for one text."""

    def __init__(self, rng: np.random.Generator, column: int, length_cm: int, turn_deg: int) -> None:
        self._rng, self._column, self._length_cm, self._turn_deg = rng, column, length_cm, turn_deg

    def pick(self, wordings: _Wordings) -> str:
        choices = wordings[self._column]
        return choices[self._rng.integers(len(choices))]

    def clause(self, axis: str, amount: float) -> str:
        """Word one motion; empty if it rounds to zero."""
        side = "left" if amount > 0 else "right"
        if axis == "yaw":
            degrees = self._turn_deg * round(abs(amount) / self._turn_deg)
            if degrees == 180 and self._rng.random() < 0.5:
                return self.pick(_TURN_AROUND)
            return self._turn(_TURN, degrees, side) if degrees else ""
        centimetres = self._length_cm * round(abs(amount) * 100 / self._length_cm)
        wordings = _ASIDE if axis == "y" else _FORWARD if amount > 0 else _BACK
        return self.pick(wordings).format(self._length(centimetres), side=side) if centimetres else ""

    def arc(self, length_m: float, turn_deg: float) -> str:
        side = "left" if turn_deg > 0 else "right"
        return self.clause("x", length_m) + self._turn(_WHILE_TURNING, round(abs(turn_deg)), side)

    def _turn(self, wordings: _Wordings, degrees: int, side: str) -> str:
        clock = "counterclockwise" if side == "left" else "clockwise"
        return self.pick(wordings).format(self._angle(degrees), side=side, clock=clock)

    def _angle(self, degrees: int) -> str:
        unit = "degree" if degrees == 1 else "degrees"
        forms = (f"{degrees} {unit}", f"{to_words(degrees)} {unit}", f"{degrees}°")
        return forms[self._rng.integers(len(forms))]

    def _length(self, centimetres: int) -> str:
        unit = "metre" if centimetres == 100 else "metres"
        metres = f"{centimetres / 100:g}"
        forms = [f"{metres} {unit}", f"{metres} m", f"{decimal_to_words(centimetres)} {unit}"]
        if centimetres < 100:
            forms += [f"{centimetres} cm", f"{to_words(centimetres)} centimetre{'s' * (centimetres > 1)}"]
        if centimetres == 50:
            forms.append("half a metre")
        if centimetres % 100 == 50 and centimetres > 100:
            forms.append(f"{to_words(centimetres // 100)} and a half metres")
        return forms[self._rng.integers(len(forms))]


def _turn_to_degrees(found: re.Match[str]) -> str:
    return "180 degrees" if found[1] == "half" else "90 degrees"


def _parse_clause(clause: str, command: str) -> list[Float64[np.ndarray, " 3"]]:
    presses = clause.split()
    # `www` is three presses; `was` and `we` are words.
    if presses and all(word == word[0] * len(word) and word[0] in _KEYS for word in presses):
        return [np.array(_KEYS[key]) for key in "".join(presses)]
    if clause in _STILL_WORDS:
        return [np.zeros(3)]
    if clause in (*_TURN_AROUND[0], *_TURN_AROUND[1]):
        return [np.array([0.0, 0.0, math.pi])]
    try:
        first, *rest = clause.split(" while ")
        moved = np.array(_parse_motion(first))
        if not rest:
            return [moved]
        return [_join_arc(moved, np.array(_parse_motion(" ".join(rest))))]
    except ValueError as error:
        raise ValueError(
            f"cannot follow {clause!r} in {command[:200]!r}: {error}; write for example {_EXAMPLE}"
        ) from error


def _join_arc(
    moved: Float64[np.ndarray, " 3"], turned: Float64[np.ndarray, " 3"]
) -> Float64[np.ndarray, " 3"]:
    if moved[1:].any() or turned[:2].any():
        raise ValueError("an arc is a distance forward or back while turning")
    return np.array(_arc(float(moved[0]), math.degrees(turned[2])))


def _parse_motion(clause: str) -> tuple[float, float, float]:
    """Read one distance or angle with its direction."""
    words = _TOKEN.findall(clause)
    if "".join(words) != clause.replace(" ", ""):
        raise ValueError("only letters, numbers and ° are read")
    units = [index for index, word in enumerate(words) if word in _METRES or word in _DEGREES]
    if len(units) != 1:
        raise ValueError("it needs one distance or angle, in metres or degrees")
    start = end = units[0]
    while start > 0 and is_number_word(words[start - 1]):
        start -= 1
    while start + 1 < end and words[start] in ("of", "a", "an") and words[start + 1][0].isdecimal():
        start += 1
    amount, rest = read_number(words[start:end]), words[:start] + words[end + 1 :]
    is_turn = words[end] in _DEGREES
    directions: dict[str, object] = dict(_ROTATIONS if is_turn else _TRANSLATIONS)
    known = directions.keys() | _FILLERS | (_TURN_VERBS if is_turn else _MOVE_VERBS)
    if unknown := [word for word in rest if word not in known]:
        raise ValueError(f"{unknown[0]!r} does not go with {'an angle' if is_turn else 'a distance'}")
    ways = {word: directions[word] for word in rest if word in directions}
    if len(set(ways.values())) != 1:
        raise ValueError(f"it needs one direction, of {', '.join(directions)}")
    return _motion(words[end], amount, next(iter(ways)))


def _motion(unit: str, amount: float, direction: str) -> tuple[float, float, float]:
    if unit in _DEGREES:
        if (turn_deg := amount * _DEGREES[unit]) > MAX_TURN_DEG + 1e-9:
            raise ValueError(f"turns go up to {MAX_TURN_DEG:g} degrees; make two of it")
        return 0.0, 0.0, _ROTATIONS[direction] * math.radians(turn_deg)
    if (length_m := amount * _METRES[unit]) > MAX_LENGTH_M:
        raise ValueError(f"distances go up to {MAX_LENGTH_M} m")
    ahead, left = _TRANSLATIONS[direction]
    return ahead * length_m, left * length_m, 0.0
