import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.command_text import describe_motion, parse_command
from data_tools.pose import compose, wrap_angle

lengths = st.one_of(st.floats(-60, 60), st.floats(-2, 2), st.sampled_from([0.0, 0.5, 1.0, -1.5, 2.5]))
turns = st.one_of(st.floats(-math.pi, math.pi), st.sampled_from([0.0, math.pi / 2, -math.pi, math.pi]))


def composed(text: str) -> np.ndarray:
    return compose(np.stack(parse_command(text)))


def check_round_trip(displacement: np.ndarray, text: str) -> None:
    error = composed(text) - displacement
    distance_m = np.hypot(displacement[0], displacement[1])
    assert np.hypot(error[0], error[1]) <= 0.01 + 0.01 * distance_m, text
    assert abs(wrap_angle(error[2:])[0]) <= math.radians(0.5) + 1e-9, text


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(lengths, lengths, turns, st.integers(0, 99), st.booleans())
def test_what_is_described_is_read_within_the_rounding(
    dx: float, dy: float, dyaw: float, seed: int, held_out: bool
):
    displacement = np.array([dx, dy, dyaw])
    text = describe_motion(displacement, rng=np.random.default_rng(seed), held_out=held_out)
    check_round_trip(displacement, text)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(st.floats(-3, 3), st.floats(-180, 180), st.integers(0, 99), st.booleans())
def test_arcs_are_described_and_read(length_m: float, turn_deg: float, seed: int, held_out: bool):
    turn_rad = math.radians(turn_deg)
    chord_m = length_m * np.sinc(turn_rad / 2 / np.pi)
    arc = np.array([chord_m * np.cos(turn_rad / 2), chord_m * np.sin(turn_rad / 2), turn_rad])
    check_round_trip(arc, describe_motion(arc, rng=np.random.default_rng(seed), held_out=held_out))


def test_held_out_wordings_are_never_used_in_training():
    rng = np.random.default_rng(0)
    motions = rng.uniform(-3, 3, size=(600, 3)) * rng.integers(0, 2, size=(600, 3))
    half_turn, arc = [0.0, 0.0, math.pi], [0.9411, 0.2911, 0.6]
    motions = np.concatenate([motions, np.tile([half_turn, arc], (50, 1))])
    for held_out in (False, True):
        words = {word for row in motions for word in describe_motion(row, rng=rng, held_out=held_out).split()}
        verbs = {"advance", "proceed", "roll", "reverse", "retreat", "sidestep", "strafe", "shift", "pivot"}
        verbs |= {"spin", "swing", "about", "curving", "veering", "hold", "stand"}
        trained = {"go", "move", "drive", "walk", "step", "turn", "rotate", "turning", "stay", "wait"}
        assert (verbs if held_out else trained) <= words
        assert not (trained if held_out else verbs) & words


def test_wordings_vary_and_follow_the_generator():
    motion = np.array([1.0, 0.0, 0.5])
    texts = [describe_motion(motion, rng=np.random.default_rng(seed), held_out=False) for seed in range(200)]
    assert len(set(texts)) > 100
    assert texts == [
        describe_motion(motion, rng=np.random.default_rng(seed), held_out=False) for seed in range(200)
    ]
    assert any("one metre" in text for text in texts)
    assert any("1 m" in text for text in texts)


def driven_lengths_m(steps: np.ndarray) -> np.ndarray:
    """Length of each straight or circular step."""
    return np.hypot(steps[:, 0], steps[:, 1]) / np.sinc(steps[:, 2] / 2 / np.pi)


def test_rounding_is_a_choice():
    rng = np.random.default_rng(1)
    for _ in range(50):
        text = describe_motion(np.array([1.04, 0, 0.5]), rng=rng, held_out=False, length_cm=50, turn_deg=15)
        steps = np.stack(parse_command(text))
        units = np.stack([steps[:, 2] / math.radians(15), driven_lengths_m(steps) / 0.5])
        np.testing.assert_allclose(units, np.rint(units), atol=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("turn left 30 degrees, then go forward one metre", [(0, 0, 30), (1, 0, 0)]),
        ("Turn right ninety degrees and then walk 2.5m ahead.", [(0, 0, -90), (2.5, 0, 0)]),
        ("go forward one and a half metres and turn left 45°", [(1.5, 0, 0), (0, 0, 45)]),
        ("go forward 1 m and left 30 deg; back 20 cm", [(1, 0, 0), (0, 0, 30), (-0.2, 0, 0)]),
        ("please make a 30 degree turn to the right", [(0, 0, -30)]),
        ("rotate one hundred and twenty degrees counter-clockwise", [(0, 0, 120)]),
        ("rotate clockwise by a quarter turn, then turn around", [(0, 0, -90), (0, 0, 180)]),
        ("step to your left by half a meter and stop", [(0, 0.5, 0), (0, 0, 0)]),
        ("wait", [(0, 0, 0)]),
        ("w w a", [(0.25, 0, 0), (0.25, 0, 0), (0, 0, 15)]),
        ("ww a", [(0.25, 0, 0), (0.25, 0, 0), (0, 0, 15)]),
        ("W S Q E D", [(0.25, 0, 0), (-0.25, 0, 0), (0, 0.25, 0), (0, -0.25, 0), (0, 0, -15)]),
        ("w, then turn left 10 degrees", [(0.25, 0, 0), (0, 0, 10)]),
    ],
)
def test_commands_by_hand(text: str, expected: list[tuple[float, float, float]]):
    found = parse_command(text)
    np.testing.assert_allclose([[x, y, math.degrees(yaw)] for x, y, yaw in found], expected, atol=1e-9)


def test_an_arc_by_hand():
    found = parse_command("go forward 3.14159265 metres while turning left 180 degrees")
    np.testing.assert_allclose(found, [[0.0, 2.0, math.pi]], atol=1e-8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty command"),
        (" . ", "an empty command"),
        ("go forward", "needs one distance or angle"),
        ("turn left and go forward 1 m", "cannot follow 'turn left'"),
        ("fly up 3 metres", "'fly' does not go with a distance"),
        ("turn left 2 metres", "'turn' does not go with a distance"),
        ("go left 30 degrees", "'go' does not go with an angle"),
        ("go 2 metres", "needs one direction"),
        ("go left right 2 m", "needs one direction"),
        ("turn left 270 degrees", "make two of it"),
        ("go forward 100 metres", "up to 99.999 m"),
        ("go forward -1 m", "only letters, numbers"),
        ("go forward 1e9 metres", "'1' does not go with a distance"),
        ("go forward one two metres", "not a number"),
        ("go forward nan m", "not a number"),
        ("step left 1 m while turning right 3°", "an arc is"),
        ("go forward 1 m; drop table", "cannot follow 'drop table'"),
        ("then", "needs one distance"),
        ("we", "needs one distance"),
        ("dad", "needs one distance"),
        ("w saw", "needs one distance"),
        ("w " * 6000, "up to 10000 characters"),
    ],
)
def test_refuses_what_it_does_not_understand(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        parse_command(text)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(st.sampled_from("go a of half turn left 1 . 90° m while , w".split())).map(" ".join),
    )
)
def test_any_text_is_read_or_refused(text: str):
    try:
        motions = parse_command(text)
    except ValueError:
        return
    assert np.isfinite(np.stack(motions)).all()


@pytest.mark.parametrize("motion", [[np.nan, 0, 0], [0, np.inf, 0], [0, 0, np.nan], [99.5, 0, 0]])
def test_refuses_to_describe_the_impossible(motion: list[float]):
    with pytest.raises(ValueError, match="finite motions up to"):
        describe_motion(np.array(motion), rng=np.random.default_rng(0), held_out=False)


@pytest.mark.parametrize("rounding", [{"length_cm": 0}, {"turn_deg": 7}])
def test_refuses_impossible_rounding(rounding: dict[str, int]):
    with pytest.raises(ValueError, match="a divisor of 180"):
        describe_motion(np.zeros(3), rng=np.random.default_rng(0), held_out=False, **rounding)
