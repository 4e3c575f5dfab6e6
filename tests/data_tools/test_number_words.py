import pytest

from data_tools.number_words import decimal_to_words, is_number_word, read_number, to_words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "zero"), (13, "thirteen"), (40, "forty"), (85, "eighty-five"), (120, "one hundred and twenty")],
)
def test_words_by_hand(number: int, words: str):
    assert to_words(number) == words


def test_every_number_is_read_as_it_is_written():
    for number in range(1000):
        words = to_words(number).replace("-", " ").split()
        assert read_number(words) == number
        assert all(map(is_number_word, words))


def test_every_hundredth_is_read_as_it_is_written():
    for hundredths in range(0, 9999, 7):
        assert read_number(decimal_to_words(hundredths).replace("-", " ").split()) == hundredths / 100


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("a", 1.0),
        ("half a", 0.5),
        ("a quarter of a", 0.25),
        ("two and a half", 2.5),
        ("a hundred and five", 105.0),
        ("one hundred five", 105.0),
        ("zero point zero five", 0.05),
        ("1.75", 1.75),
    ],
)
def test_spoken_forms(words: str, number: float):
    assert read_number(words.split()) == number


@pytest.mark.parametrize(
    "words", ["", "one two", "twenty eleven", "hundred", "half half", "point five", "one point", "and"]
)
def test_refuses_what_is_no_number(words: str):
    with pytest.raises(ValueError, match="not a number"):
        read_number(words.split())


@pytest.mark.parametrize("number", [-1, 1000])
def test_refuses_numbers_without_words(number: int):
    with pytest.raises(ValueError, match="from 0 to 999"):
        to_words(number)
