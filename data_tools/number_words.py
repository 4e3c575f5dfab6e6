"""Number words: numbers as people write them in a command, `eighty-five` or `one and a half`, both ways."""

from collections.abc import Sequence

SMALL: tuple[str, ...] = (
    *"zero one two three four five six seven eight nine ten eleven twelve".split(),
    *"thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split(),
)
TENS = dict(
    zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True)
)
_FRACTIONS = {"half": 0.5, "quarter": 0.25}
_VOCABULARY = {*SMALL, *TENS, *_FRACTIONS, "hundred", "point", "and", "a", "an", "of"}


def to_words(number: int) -> str:
    """Write a whole number from 0 to 999, hyphens and `and` included."""
    if not 0 <= number <= 999:
        raise ValueError(f"numbers are written in words from 0 to 999; got {number}")
    hundreds, rest = divmod(number, 100)
    if hundreds:
        return f"{SMALL[hundreds]} hundred" + (f" and {to_words(rest)}" if rest else "")
    if number < len(SMALL):
        return SMALL[number]
    tens, ones = divmod(number, 10)
    word = list(TENS)[tens - 2]
    return f"{word}-{SMALL[ones]}" if ones else word


def decimal_to_words(hundredths: int) -> str:
    """Write a number given in hundredths, as in `one point two five`."""
    whole, rest = divmod(hundredths, 100)
    digits = f"{rest:02d}".rstrip("0")
    return " ".join(
        [to_words(whole), *(["point"] if digits else []), *(SMALL[int(digit)] for digit in digits)]
    )


def is_number_word(word: str) -> bool:
    """Say whether a word can be part of a number."""
    return word in _VOCABULARY or word[:1].isdecimal()


def read_number(words: Sequence[str]) -> float:
    """Read a number in digits or words, without hyphens; ValueError if the words are not one number."""
    value = _read(list(words))
    if value is None:
        raise ValueError(f"not a number: {' '.join(words)!r}")
    return value


def _read(words: list[str]) -> float | None:
    match words:
        case [*before, ("half" | "quarter") as fraction, "a" | "an"] | [
            *before,
            ("half" | "quarter") as fraction,
            "of",
            "a" | "an",
        ]:  # half a (metre), a quarter of a (metre)
            return _read([*before, fraction])
        case ["a", ("half" | "quarter") as fraction] | [("half" | "quarter") as fraction]:
            return _FRACTIONS[fraction]
        case [*before, "and", "a", ("half" | "quarter") as fraction]:
            whole = _read_whole(before)
            return None if whole is None else whole + _FRACTIONS[fraction]
        case [number] if number[0].isdecimal():
            return float(number)
        case _ if "point" in words:
            return _read_decimal(words[: words.index("point")], words[words.index("point") + 1 :])
        case _:
            return _read_whole(words)


def _read_whole(words: list[str]) -> float | None:
    return _WHOLE.get(" ".join(words))


def _read_decimal(whole: list[str], digits: list[str]) -> float | None:
    value = _read_whole(whole)
    if value is None or not digits or not set(digits) <= set(SMALL[:10]):
        return None
    return float(f"{value:.0f}." + "".join(str(SMALL.index(digit)) for digit in digits))


def _whole_numbers() -> dict[str, float]:
    """Every way to say a whole number: with `and` or without, `a hundred` or `one hundred`."""
    spoken = {to_words(number).replace("-", " "): float(number) for number in range(1000)}
    spoken |= {text.replace("one hundred", "a hundred"): number for text, number in spoken.items()}
    spoken |= {text.replace(" and", ""): number for text, number in spoken.items()}
    return {**spoken, "a": 1.0, "an": 1.0}


_WHOLE = _whole_numbers()
