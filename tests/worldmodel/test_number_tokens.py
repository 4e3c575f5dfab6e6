import numpy as np
import pytest

from worldmodel.number_tokens import NUM_PLACES, NumberReader, OrdinaryActions
from worldmodel.vocabulary import fixed_vocabulary

ACTION = "action: dx=+0.335, dy=-7.020, dyaw=-0.000, dt=9.25"


def test_digits_are_placed_by_their_point():
    reader = NumberReader(field=0)
    places = [
        reader.take_sign("-"),
        reader.take_digit("1"),
        reader.take_pointed_digit("2"),
        reader.take_digit("3"),
        reader.take_digit("4"),
    ]
    assert places == [1, 7, 2, 3, 4]
    assert not reader.is_complete
    assert reader.take_digit("5") == 5
    assert reader.is_complete
    assert reader.text == "-12.345"
    assert reader.take_digit("6") == 6
    assert not reader.is_complete


def test_time_has_two_decimals_and_no_field_has_no_value():
    for field, digits, expected in ((3, "25", True), (3, "2", False), (0, "25", False), (None, "253", False)):
        reader = NumberReader(field=field)
        reader.take_pointed_digit("0")
        for digit in digits:
            reader.take_digit(digit)
        assert reader.is_complete is expected


def test_places_stay_in_range_however_long_the_number():
    reader = NumberReader()
    before = [reader.take_digit("9") for _ in range(7)]
    after = [reader.take_pointed_digit("9"), *(reader.take_digit("9") for _ in range(7))]
    assert before == [7, 8, 9, 10, 10, 10, 10]
    assert after == [2, 3, 4, 5, 6, 6, 6, 6]
    assert max(before + after) == NUM_PLACES - 1


def test_a_second_point_ends_the_number():
    reader = NumberReader(field=0)
    assert [reader.take_pointed_digit("1"), reader.take_pointed_digit("2"), reader.take_digit("3")] == [
        2,
        3,
        7,
    ]
    assert not reader.is_complete


def test_ordinary_actions_are_encoded_without_a_loop():
    words = list(fixed_vocabulary())
    (tokens,) = OrdinaryActions(fixed_vocabulary()).encode([ACTION])
    assert tokens is not None
    assert "".join(words[index] for index in tokens.ids).replace("Ġ", " ") == ACTION
    np.testing.assert_array_equal(
        tokens.values[tokens.is_value], np.array([0.335, -7.02, 0.0, 9.25], dtype=np.float32)
    )
    assert np.flatnonzero(tokens.is_value).tolist() == [5, 11, 17, 21]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 50,
        ACTION.replace("+", "="),
        ACTION.replace("5,", "a,"),
        ACTION.replace("0.3", "10.3"),
        "é" * 50,
    ],
)
def test_other_texts_are_left_to_the_tokenizer(text):
    assert OrdinaryActions(fixed_vocabulary()).encode([text]) == [None]
