"""Annotation: captions, questions with answers, and instructions for the frames of a recording."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from data_tools.command_text import describe_motion
from data_tools.pose import displacement_between
from data_tools.trajectory import FrameText, TextKind
from envs.free_space import FreeSpace
from envs.nouns import NOUNS, is_plural

FAR_M = 8.0
"""Beyond this the text says only "more than eight metres": depth is quantised, and nobody counts on it."""

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
_HELD_OUT_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class SeenObject:
    """One visible object.

    Attributes:
        noun: What it is called, with its article.
        bearing_rad: Direction in the robot frame, left positive.
        distance_m: Distance from the robot.
    """

    noun: str
    bearing_rad: float
    distance_m: float

    @property
    def side(self) -> str:
        """Where it is: `left`, `right` or `ahead` (within 12 degrees of the middle)."""
        return side_of(self.bearing_rad)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What text may be written about: visible objects, nearest first, and free space."""

    objects: tuple[SeenObject, ...]
    free: FreeSpace

    @property
    def wall_ahead_m(self) -> float:
        """Distance to the nearest obstacle straight ahead: what is seen; how far one can go is `free`'s."""
        return float(self.free.distance_m[np.abs(self.free.bearing_rad).argmin()])


def side_of(bearing_rad: float) -> str:
    """Return `left`, `right` or `ahead` for a direction in the robot frame."""
    if abs(bearing_rad) <= math.radians(12.0):
        return "ahead"
    return "left" if bearing_rad > 0 else "right"


def distance_words(distance_m: float) -> str:
    """Return a distance as one would say it: in half metres when near, in whole metres when far."""
    if distance_m > FAR_M:
        return "more than eight metres"
    if distance_m < 0.75:
        return "about half a metre"
    halves = round(distance_m * 2)
    whole = halves // 2
    if halves % 2 and distance_m < 3:
        return f"about {_NUMBERS[whole]} and a half metres"
    whole = max(1, round(distance_m))
    return f"about {_NUMBERS[whole]} metre{'' if whole == 1 else 's'}"


def write_caption(scene: Scene, *, rng: np.random.Generator) -> str:
    """Return a sentence of one to three facts about what is visible, in one of many wordings."""
    facts = [_say_ahead(scene, rng=rng), _say_room(scene, rng=rng)]
    for seen in scene.objects[:3]:
        facts.insert(0, _say_object(seen, rng=rng))
    num_facts = min(len(facts), int(rng.integers(1, 4)))
    order = rng.permutation(len(facts))[:num_facts]
    chosen = [facts[index] for index in sorted(order)]
    text = _join(chosen, rng=rng)
    return f"{text[0].upper()}{text[1:]}."


def write_question(scene: Scene, *, rng: np.random.Generator) -> tuple[str, str]:
    """Return a question about the frame and its answer."""
    makers: list[Callable[..., tuple[str, str]]] = [
        _ask_ahead,
        _ask_free,
        _ask_room,
        _ask_presence,
        _ask_count,
    ]
    if scene.objects:
        makers += [_ask_side, _ask_where]
    return makers[int(rng.integers(len(makers)))](scene, rng=rng)


def write_instructions(
    poses: Float64[np.ndarray, "frame 3"], *, num: int, rng: np.random.Generator
) -> tuple[FrameText, ...]:
    """Return instructions in plain language for `num` random stretches of 2 to 10 steps of a drive.

    About one in five is worded in a way that is kept out of training.
    """
    if len(poses) < 3:
        return ()
    texts = []
    for _ in range(num):
        num_steps = int(rng.integers(2, min(10, len(poses) - 1) + 1))
        start = int(rng.integers(len(poses) - num_steps))
        motion = displacement_between(poses[start], poses[start + num_steps])
        held_out = bool(rng.random() < _HELD_OUT_SHARE)
        texts.append(
            FrameText(
                frame=start,
                end_frame=start + num_steps,
                kind=TextKind.instruction,
                text=describe_motion(motion, rng=rng, held_out=held_out),
                answer=None,
                held_out=held_out,
            )
        )
    return tuple(texts)


def annotate_frame(frame: int, scene: Scene, *, rng: np.random.Generator) -> tuple[FrameText, ...]:
    """Return one caption and two questions about a frame; one question if the same was drawn twice."""
    questions = {write_question(scene, rng=rng) for _ in range(2)}
    caption = FrameText(
        frame=frame,
        end_frame=None,
        kind=TextKind.caption,
        text=write_caption(scene, rng=rng),
        answer=None,
        held_out=False,
    )
    return caption, *(
        FrameText(
            frame=frame, end_frame=None, kind=TextKind.question, text=text, answer=answer, held_out=False
        )
        for text, answer in sorted(questions)
    )


def _pick(options: list[str], *, rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _join(facts: list[str], *, rng: np.random.Generator) -> str:
    if len(facts) == 1:
        return facts[0]
    head = _pick([", ", "; ", " and "], rng=rng).join(facts[:-1])
    return head + _pick([", and ", "; also, ", "; "], rng=rng) + facts[-1]


def _place_words(seen: SeenObject, *, rng: np.random.Generator) -> str:
    match seen.side:
        case "ahead":
            return _pick(["ahead", "straight ahead", "in front", "in the middle"], rng=rng)
        case side:
            return _pick([f"on the {side}", f"to the {side}", f"ahead to the {side}"], rng=rng)


def _nearness_words(distance_m: float, *, rng: np.random.Generator) -> str:
    if distance_m < 2.0:
        return _pick(["very near", "close by", f"{distance_words(distance_m)} away"], rng=rng)
    if distance_m < 5.0:
        return _pick(["near", f"{distance_words(distance_m)} away"], rng=rng)
    return _pick(["far away", "in the distance", f"{distance_words(distance_m)} away"], rng=rng)


def _say_object(seen: SeenObject, *, rng: np.random.Generator) -> str:
    be = "are" if is_plural(seen.noun) else "is"
    where, near = _place_words(seen, rng=rng), _nearness_words(seen.distance_m, rng=rng)
    return _pick(
        [f"there {be} {seen.noun} {where}, {near}", f"{where} {be} {seen.noun}", f"{seen.noun} {be} {where}"],
        rng=rng,
    )


def _say_ahead(scene: Scene, *, rng: np.random.Generator) -> str:
    """Say how far the wall is, along a ray, or how far one can go, which takes the width of the body."""
    wall_m, way_m = scene.wall_ahead_m, scene.free.ahead_m()
    if wall_m < 1.0:
        wall = "a wall is right in front"
    elif wall_m < FAR_M:
        wall = f"the wall ahead is {distance_words(wall_m)} away"
    else:
        wall = "the view ahead is long and open"
    words = distance_words(way_m)
    way = f"the way is blocked {words} ahead" if way_m < 1.0 else f"the way ahead is free for {words}"
    return _pick([wall, way], rng=rng)


def _say_room(scene: Scene, *, rng: np.random.Generator) -> str:
    left_m, right_m = scene.free.left_m(), scene.free.right_m()
    if max(left_m, right_m) < 2.0:
        return _pick(["the place is narrow", "walls are close on both sides"], rng=rng)
    if min(left_m, right_m) > 5.0:
        return _pick(["the place is wide and open", "there is much room on both sides"], rng=rng)
    side = "left" if left_m > right_m else "right"
    if max(left_m, right_m) > 1.5 * min(left_m, right_m):
        return _pick([f"there is more room on the {side}", f"it opens to the {side}"], rng=rng)
    return _pick(["both sides have some room", "it is about equally wide on both sides"], rng=rng)


def _ask_ahead(scene: Scene, *, rng: np.random.Generator) -> tuple[str, str]:
    way = distance_words(scene.free.ahead_m())
    answers = {
        "how far is the wall ahead?": distance_words(scene.wall_ahead_m),
        "how far can you go straight ahead?": way,
        "how much room is ahead?": way,
    }
    question = _pick(list(answers), rng=rng)
    return question, answers[question]


def _ask_free(scene: Scene, *, rng: np.random.Generator) -> tuple[str, str]:
    metres = int(rng.integers(1, 5))
    unit = "metre" if metres == 1 else "metres"
    question = _pick(
        [
            f"is the way ahead free for {_NUMBERS[metres]} {unit}?",
            f"can you go {_NUMBERS[metres]} {unit} ahead?",
        ],
        rng=rng,
    )
    return question, "yes" if scene.free.ahead_m() >= metres else "no"


def _ask_room(scene: Scene, *, rng: np.random.Generator) -> tuple[str, str]:
    left_m, right_m = scene.free.left_m(), scene.free.right_m()
    question = _pick(["which side has more room?", "where is more space, left or right?"], rng=rng)
    if max(left_m, right_m) < 1.2 * min(left_m, right_m):
        return question, "both alike"
    return question, "the left" if left_m > right_m else "the right"


def _ask_presence(scene: Scene, *, rng: np.random.Generator) -> tuple[str, str]:
    visible = sorted({seen.noun for seen in scene.objects})
    if visible and rng.random() < 0.5:
        noun = _pick(visible, rng=rng)
    else:
        noun = _pick(sorted(set(NOUNS.values())), rng=rng)
    verb = "are" if is_plural(noun) else "is"
    question = _pick([f"do you see {noun}?", f"{verb} there {noun}?"], rng=rng)
    return question, "yes" if noun in visible else "no"


def _ask_count(scene: Scene, *, rng: np.random.Generator) -> tuple[str, str]:
    question = _pick(["how many objects are visible?", "how many things do you see?"], rng=rng)
    num = len(scene.objects)
    return question, _NUMBERS[num].replace("no", "none") if num < len(_NUMBERS) else "more than eight"


def _ask_side(scene: Scene, *, rng: np.random.Generator) -> tuple[str, str]:
    side = _pick(["left", "right", "ahead"], rng=rng)
    where = "straight ahead" if side == "ahead" else f"on the {side}"
    question = _pick([f"what is {where}?", f"what do you see {where}?"], rng=rng)
    return question, next((seen.noun for seen in scene.objects if seen.side == side), "nothing but walls")


def _ask_where(scene: Scene, *, rng: np.random.Generator) -> tuple[str, str]:
    seen = scene.objects[int(rng.integers(len(scene.objects)))]
    # Of several alike, the nearest is meant.
    seen = next(other for other in scene.objects if other.noun == seen.noun)
    noun = seen.noun.removeprefix("a ").removeprefix("an ")
    where = "ahead" if seen.side == "ahead" else f"on the {seen.side}"
    verb = "are" if is_plural(seen.noun) else "is"
    return f"where {verb} the {noun}?", f"{where}, {distance_words(seen.distance_m)} away"
