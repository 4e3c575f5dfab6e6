import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.action_text import (
    HIGHEST,
    LOWEST,
    Action,
    format_action,
    format_actions,
    parse_action,
    parse_actions,
    round_actions,
    without_time,
)
from data_tools.pose import compose, wrap_angle

TEXT = "action: dx=+0.335, dy=-0.020, dyaw=+0.120, dt=0.25"
every_value = settings(max_examples=200, deadline=None, derandomize=True, database=None)
actions = st.builds(
    Action,
    st.floats(-99.999, 99.999),
    st.floats(-99.999, 99.999),
    st.floats(-3.142, 3.142),
    st.floats(0.0, 99.99),
)
units = st.tuples(
    st.integers(-99999, 99999), st.integers(-99999, 99999), st.integers(-3142, 3142), st.integers(0, 9999)
)


def as_row(action: Action) -> np.ndarray:
    return np.array([action.dx_m, action.dy_m, action.dyaw_rad, action.dt_s])


def test_the_form_by_hand():
    assert format_action(Action(0.3351, -0.0199, 0.12, 0.25)) == TEXT
    assert parse_action(TEXT) == Action(0.335, -0.02, 0.12, 0.25)


@every_value
@given(actions)
def test_reading_what_is_written_gives_the_action_within_half_a_unit(action: Action):
    error = np.abs(as_row(parse_action(format_action(action))) - as_row(action))
    assert (error <= np.array([5e-4, 5e-4, 5e-4, 5e-3]) + 1e-9).all()


@every_value
@given(units)
def test_every_text_of_the_form_is_written_as_it_is_read(numbers: tuple[int, int, int, int]):
    dx, dy, dyaw, dt = numbers
    text = f"action: dx={dx / 1000:+.3f}, dy={dy / 1000:+.3f}, dyaw={dyaw / 1000:+.3f}, dt={dt / 100:.2f}"
    assert format_action(parse_action(text)) == text
    assert parse_action(text) == Action(dx / 1000, dy / 1000, dyaw / 1000, dt / 100)


@every_value
@given(st.lists(actions, max_size=7), st.sampled_from([np.float32, np.float64]))
def test_rounding_is_writing_and_reading(batch: list[Action], dtype: type):
    rows = np.array([as_row(action) for action in batch]).reshape(-1, 4).astype(dtype)
    read = parse_actions(format_actions(rows))
    np.testing.assert_array_equal(round_actions(rows), read.astype(dtype))
    np.testing.assert_array_equal(round_actions(round_actions(rows)), round_actions(rows))
    assert not np.signbit(read[read == 0]).any()


def test_rounding_keeps_shape_and_dtype():
    rows = np.random.default_rng(0).uniform(0, 1, size=(2, 3, 5, 4)).astype(np.float32)
    assert round_actions(rows).shape == (2, 3, 5, 4)
    assert round_actions(rows).dtype == np.float32


def test_zero_has_no_minus_sign():
    assert (
        format_action(Action(-0.0004, -0.0, -1e-12, 0.0))
        == "action: dx=+0.000, dy=+0.000, dyaw=+0.000, dt=0.00"
    )


def test_half_a_turn_and_the_ends_of_the_range_can_be_written():
    assert "dyaw=-3.142" in format_action(Action(0.0, 0.0, -np.pi, 0.0))
    for ends in (LOWEST, HIGHEST):
        np.testing.assert_array_equal(round_actions(ends[None]), ends[None])
        np.testing.assert_allclose(round_actions(ends.astype(np.float32)), ends, rtol=1e-6)


@every_value
@given(st.lists(st.tuples(*[st.floats(-0.6, 0.6)] * 2, st.floats(-1.0, 1.0)), min_size=8, max_size=8))
def test_eight_steps_of_text_compose_to_the_text_of_the_jump(steps: list[tuple[float, float, float]]):
    exact = np.column_stack([np.array(steps), np.full(8, 9 / 35)])
    read = parse_actions(format_actions(exact))
    jump = np.append(compose(exact[:, :3]), 8 * 9 / 35)
    jump_read = parse_actions(format_actions(jump[None]))[0]
    error = compose(read[:, :3]) - jump_read[:3]
    # Half a unit a step and axis, and each step turned by the rounding of the turns before it.
    lengths_m = np.linalg.norm(exact[:, :2], axis=1)
    bound_m = 9 * 0.0005 * np.sqrt(2) + (0.0005 * np.arange(8) * lengths_m).sum()
    assert np.hypot(error[0], error[1]) <= bound_m + 1e-9
    assert abs(wrap_angle(error[2:])[0]) <= 9 * 0.0005 + 1e-9
    assert abs(read[:, 3].sum() - jump_read[3]) <= 9 * 0.005 + 1e-9


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("field", range(4))
def test_refuses_what_is_not_finite(field: int, value: float):
    rows = np.zeros((5, 4))
    rows[3, field] = value
    with pytest.raises(ValueError, match=r"1 of 5 actions cannot be written.*finite \|dx\|"):
        format_actions(rows)
    with pytest.raises(ValueError, match="cannot be written"):
        round_actions(rows)


@pytest.mark.parametrize(
    "row", [[100.0, 0, 0, 0], [0, -99.9996, 0, 0], [0, 0, 3.1426, 0], [0, 0, 0, -0.01], [0, 0, 0, 100.0]]
)
def test_refuses_what_is_out_of_range(row: list[float]):
    with pytest.raises(ValueError, match="cannot be written: the first is"):
        format_action(Action(*map(float, row)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "action:",
        TEXT + " ",
        TEXT + "\n",
        TEXT.upper(),
        TEXT.replace("+0.335", "0.335"),
        TEXT.replace("+0.335", "+0.35"),
        TEXT.replace("+0.335", "+00.335"),
        TEXT.replace("+0.335", "+100.335"),
        TEXT.replace("+0.335", "-0.000"),
        TEXT.replace("+0.335", "+nan"),
        TEXT.replace("+0.335", "+٠.335"),  # noqa: RUF001 (an Arabic digit)
        TEXT.replace("dt=0.25", "dt=-0.25"),
        TEXT.replace(", dt=0.25", ""),
    ],
)
def test_refuses_malformed_text(text: str):
    with pytest.raises(ValueError, match=re.escape("not an action") + ".*the form is"):
        parse_action(text)
    with pytest.raises(ValueError, match="not an action"):
        parse_actions([TEXT, text])


def test_refuses_text_of_more_than_half_a_turn():
    with pytest.raises(ValueError, match="more than half a turn"):
        parse_action(TEXT.replace("+0.120", "-3.143"))


def test_an_action_without_its_time_is_where_its_text_begins():
    assert without_time(TEXT) == "action: dx=+0.335, dy=-0.020, dyaw=+0.120"
    for text in ("x", without_time(TEXT), f"{TEXT}5"):
        with pytest.raises(ValueError, match=r"not an action: .*; the form is"):
            without_time(text)
