"""NumberReader: what tokens say about numbers: which digit each is, and the value of an action's number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from worldmodel.vocabulary import DIGITS, FIELDS, POINTED_DIGITS, SIGNS, spell

PLACE_NONE = 0
PLACE_SIGN = 1
PLACE_UNITS = 2
"""The digit that carries the point; 3, 4, 5 are tenths, hundredths, thousandths; 6 is all that is finer."""
PLACE_FINEST = 6
PLACE_LEADING = 7
"""First digit of a number, without a point: the tens in an action; 8, 9 are the second, third; 10 later."""
PLACE_LAST_LEADING = 10
NUM_PLACES = 11

_NUM_DECIMALS = (3, 3, 3, 2)


@dataclass(frozen=True)
class TokenizedText:
    """Tokens of one text, and what each says about numbers.

    All of it is causal: what stands at a token depends on that token and those before it, so that it
    gives nothing away to a model that predicts the next one, and is the same while text is generated.

    `places` holds PLACE_*: which digit of its number a token is, 0 outside numbers. A digit before the
    point cannot know how many follow, so it is counted from the left: in an action, a leading digit without
    a point is the tens. The sign of an action's number has a place of its own. `values` holds a number of
    an action [metres, radians, seconds] at its last token, where `is_value` is true; 0 elsewhere.
    """

    ids: Int64[np.ndarray, " token"]
    places: Int64[np.ndarray, " token"]
    values: Float32[np.ndarray, " token"]
    is_value: Bool[np.ndarray, " token"]

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.ids)


class NumberReader:
    """The number being read: what came since the last token that was neither sign nor digit."""

    def __init__(self, field: int | None = None) -> None:
        self.text = ""
        self._field = field
        self._num_digits = 0
        self._num_decimals: int | None = None

    @property
    def is_complete(self) -> bool:
        """True at the last digit of an action's number."""
        return self._field is not None and self._num_decimals == _NUM_DECIMALS[self._field]

    def start(self, field: int | None) -> None:
        """Forget the number; the next one belongs to an action's field, or to none."""
        self.text, self._field, self._num_digits, self._num_decimals = "", field, 0, None

    def take_sign(self, sign: str) -> int:
        """Read a sign and return its place."""
        if self._field is None or self.text:
            self.start(None)
            return PLACE_NONE
        self.text = sign
        return PLACE_SIGN

    def take_digit(self, digit: str) -> int:
        """Read a digit without a point and return its place."""
        self.text += digit
        if self._num_decimals is None:
            self._num_digits += 1
            return min(PLACE_LEADING + self._num_digits - 1, PLACE_LAST_LEADING)
        self._num_decimals += 1
        return min(PLACE_UNITS + self._num_decimals, PLACE_FINEST)

    def take_pointed_digit(self, digit: str) -> int:
        """Read a digit with its point (given without) and return its place."""
        if self._num_decimals is not None:  # the second point of 1.2.3: the number ends here
            place = min(PLACE_UNITS + self._num_decimals + 1, PLACE_FINEST)
            self.start(None)
            return place
        self.text += f"{digit}."
        self._num_decimals = 0
        return PLACE_UNITS


class OrdinaryActions:
    """Encodes actions whose numbers have one digit before the point (50 characters, 22 tokens), at once."""

    _TEMPLATE = "action: dx=s0.000, dy=s0.000, dyaw=s0.000, dt=0.00"

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self._characters = np.frombuffer(self._TEMPLATE.encode(), dtype=np.uint8)
        is_sign, is_digit = self._characters == ord("s"), self._characters == ord("0")
        is_pointed = is_digit & (np.roll(self._characters, -1) == ord("."))
        self._is_fixed = ~(is_sign | is_digit)
        starts = [self._TEMPLATE.index(field) for field in FIELDS]
        self._signs, self._digits = np.flatnonzero(is_sign), np.flatnonzero(is_digit)
        positions = np.sort(np.concatenate([starts, self._signs, self._digits]))
        # What a token's first character adds to choose its id: the character itself, in one of two tables.
        self._table = np.zeros((2, 128), dtype=np.int64)
        for word in (*SIGNS, *DIGITS):
            self._table[0, ord(word)] = vocabulary[word]
        for word in POINTED_DIGITS:
            self._table[1, ord(word[0])] = vocabulary[word]
        self._positions, self._row = positions, is_pointed[positions].astype(np.int64)
        self._field_tokens = np.searchsorted(positions, starts)
        self._field_ids = [vocabulary[spell(field)] for field in FIELDS]
        signed = [PLACE_NONE, PLACE_SIGN, PLACE_UNITS, 3, 4, 5]
        self._places = np.array([*signed, *signed, *signed, PLACE_NONE, PLACE_UNITS, 3, 4], dtype=np.int64)
        self._is_value = np.isin(np.arange(len(positions)), (5, 11, 17, 21))

    def encode(self, texts: Sequence[str]) -> list[TokenizedText | None]:
        """Return the tokens of each ordinary action, and None for every other text."""
        found: list[TokenizedText | None] = [None] * len(texts)
        width = len(self._TEMPLATE)
        kept = [index for index, text in enumerate(texts) if len(text) == width and text.isascii()]
        joined = "".join(texts[index] for index in kept).encode()
        characters = np.frombuffer(joined, dtype=np.uint8).reshape(-1, width)
        digits, signs = characters[:, self._digits], characters[:, self._signs]
        fits = (characters[:, self._is_fixed] == self._characters[self._is_fixed]).all(axis=1)
        fits &= ((digits >= ord("0")) & (digits <= ord("9"))).all(axis=1)
        fits &= ((signs == ord("+")) | (signs == ord("-"))).all(axis=1)
        characters = characters[fits]
        ids = self._table[self._row, characters[:, self._positions]]
        ids[:, self._field_tokens] = self._field_ids
        values = self._values(characters)
        for row, index in enumerate(np.array(kept, dtype=np.int64)[fits].tolist()):
            found[index] = TokenizedText(ids[row], self._places, values[row], self._is_value)
        return found

    def _values(self, characters: UInt8[np.ndarray, "text character"]) -> Float32[np.ndarray, "text token"]:
        digits = characters[:, self._digits].astype(np.float64) - ord("0")
        signs = np.where(characters[:, self._signs] == ord("-"), -1.0, 1.0)
        # Whole thousandths divided once: the float that the decimal text denotes, as `float(text)` gives it.
        moved = digits[:, :12].reshape(-1, 3, 4) @ np.array([1000.0, 100.0, 10.0, 1.0]) / 1000.0 * signs
        time = digits[:, 12:] @ np.array([100.0, 10.0, 1.0]) / 100.0
        values = np.zeros((len(characters), len(self._positions)), dtype=np.float32)
        values[:, self._is_value] = np.concatenate([moved, time[:, None]], axis=1)
        return values
