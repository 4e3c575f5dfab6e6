"""TextTokenizer: text to tokens and back; byte-level, numbers as single digits, one token an action field.

An action `action: dx=+0.335, dy=-0.020, dyaw=+0.120, dt=0.25` is 22 tokens: four field names, three signs
and fifteen digits, where the units digit of a decimal carries its point (`+0.335` is `+ 0. 3 3 5`). Each of
|dx| >= 10 m, |dy| >= 10 m and dt >= 10 s adds one token: at most 24, and 25 only where all three hold.

The markers (<pad>, <bos>, <eos>, <image>, </image>) never come from encoding text: a text that spells one
is ordinary characters, so that no text from outside can open an image or end a document.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from data_tools.whole_file import write_text
from worldmodel.number_tokens import NUM_PLACES, PLACE_NONE, NumberReader, OrdinaryActions, TokenizedText
from worldmodel.vocabulary import (
    DIGITS,
    FIELDS,
    MARKERS,
    POINTED_DIGITS,
    SIGNS,
    bytes_by_character,
    fixed_vocabulary,
    spell,
)

__all__ = ["NUM_PLACES", "TextTokenizer", "TokenizedText"]

_PARTS_OF_ACTIONS = r"action: dx=|, dyaw=|, dy=|, dt=|[0-9]\.(?=[0-9])|[0-9]|[+-]"
_SAMPLE = "action: dx=+0.123, dy=-4.567, dyaw=+0.890, dt=2.68"
# The rest of the pieces are those of GPT-2, less digits and signs. A space before an action stays on its own.
_PIECES = (
    _PARTS_OF_ACTIONS + r"| (?=action: dx=)|'(?:s|t|re|ve|m|ll|d)"
    r"| ?\p{L}+| ?[^\s\p{L}0-9+-]+|\s+(?!\S)|\s+"
)


class TextTokenizer:
    """Byte-level BPE over a `tokenizers.Tokenizer` that `train` or `load` made."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab(with_added_tokens=False)
        alphabet = bytes_by_character()
        missing = [
            word
            for word in (*MARKERS, *map(spell, (*FIELDS, *SIGNS, *DIGITS, *POINTED_DIGITS)), *alphabet)
            if word not in vocabulary
        ]
        if missing or sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ValueError(
                f"needed a vocabulary of worldnav (markers, action fields, digits, all 256 bytes); it lacks "
                f"{missing[:5]} or has gaps; make one with TextTokenizer.train"
            )
        self.vocab_size = len(vocabulary)
        self.pad, self.begin, self.end, self.image_begin, self.image_end = (vocabulary[m] for m in MARKERS)
        self._bytes = [b""] * self.vocab_size
        for word, index in vocabulary.items():
            self._bytes[index] = bytes(alphabet[character] for character in word)
        self._fields = {vocabulary[spell(field)]: number for number, field in enumerate(FIELDS)}
        self._signs = {vocabulary[sign]: sign for sign in SIGNS}
        self._digits = {vocabulary[digit]: digit for digit in DIGITS}
        self._pointed = {vocabulary[digit]: digit[0] for digit in POINTED_DIGITS}
        self._ordinary = OrdinaryActions(vocabulary)
        # Cut the other way, the same vocabulary would give numbers that the model has never seen.
        if self.encode(_SAMPLE).ids.tolist() != self.encode_many([_SAMPLE])[0].ids.tolist():
            raise ValueError(
                f"this tokenizer does not cut {_SAMPLE!r} into fields, signs and digits; make one with "
                "TextTokenizer.train"
            )

    def encode(self, text: str) -> TokenizedText:
        """Turn a text into tokens, without <bos> or <eos>."""
        return self.annotate(np.array(self._tokenizer.encode(text).ids, dtype=np.int64))

    def encode_many(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Turn each text into tokens, as `encode` does; ordinary actions ten times as fast."""
        found = self._ordinary.encode(texts)
        others = [index for index, tokens in enumerate(found) if tokens is None]
        encodings = self._tokenizer.encode_batch([texts[index] for index in others]) if others else []
        for index, encoding in zip(others, encodings, strict=True):
            found[index] = self.annotate(np.array(encoding.ids, dtype=np.int64))
        return [tokens for tokens in found if tokens is not None]

    def decode(self, ids: Iterable[int] | Int64[np.ndarray, " token"]) -> str:
        """Return the text of tokens, markers spelled out.

        The inverse of `encode`. Bytes that are not UTF-8, which only a model can produce, become U+FFFD.
        """
        return b"".join(self._bytes[int(index)] for index in ids).decode("utf-8", errors="replace")

    def num_bytes(self, ids: Iterable[int] | Int64[np.ndarray, " token"]) -> int:
        """Return how many bytes of text tokens stand for."""
        return sum(len(self._bytes[int(index)]) for index in ids)

    def annotate(self, ids: Int64[np.ndarray, " token"]) -> TokenizedText:
        """Read places and values off tokens, from left to right."""
        places = np.zeros(len(ids), dtype=np.int64)
        values = np.zeros(len(ids), dtype=np.float32)
        is_value = np.zeros(len(ids), dtype=np.bool_)
        number = NumberReader()
        for position, index in enumerate(ids.tolist()):
            places[position] = self.read(index, number)
            if number.is_complete:
                values[position] = float(number.text)
                is_value[position] = True
        return TokenizedText(ids, places, values, is_value)

    def read(self, index: int, number: NumberReader) -> int:
        """Go on reading a number with the next token of a text; return the token's place."""
        if (digit := self._digits.get(index)) is not None:
            return number.take_digit(digit)
        if (digit := self._pointed.get(index)) is not None:
            return number.take_pointed_digit(digit)
        if (sign := self._signs.get(index)) is not None:
            return number.take_sign(sign)
        number.start(self._fields.get(index))
        return PLACE_NONE

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON in the format of `tokenizers`, whole or not at all."""
        write_text(Path(path), self._tokenizer.to_str(pretty=True))

    @property
    def identity(self) -> str:
        """Hash of the vocabulary: of what `save` writes."""
        return hashlib.sha256(self._tokenizer.to_str(pretty=True).encode()).hexdigest()

    @classmethod
    def load(cls, path: str | Path) -> "TextTokenizer":
        """Read a vocabulary that `save` wrote. Nothing in it is executed."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no tokenizer at {path}; make one with TextTokenizer.train(...).save(path)"
            )
        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # `tokenizers` raises bare Exception
            raise ValueError(f"{path} is not a JSON file of the `tokenizers` library: {error}") from error
        return cls(tokenizer)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "TextTokenizer":
        """Learn a vocabulary of `vocab_size` tokens, or fewer if the texts give no more; deterministic."""
        first = fixed_vocabulary()
        if vocab_size < len(first):
            raise ValueError(
                f"vocab_size must be at least {len(first)} (markers, fields, digits, bytes); got {vocab_size}"
            )
        # Each token outside the 256 bytes takes the place of one learned merge.
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - (len(first) - 256),
            initial_alphabet=sorted(bytes_by_character()),
            show_progress=False,
        )
        learner = Tokenizer(models.BPE())
        learner.pre_tokenizer = _pre_tokenizer(with_actions=False)
        learner.train_from_iterator(texts, trainer)
        merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
        for left, right in merges:
            first.setdefault(left + right, len(first))
        # ignore_merges: a piece that is in the vocabulary is one token, which fields and pointed digits need.
        tokenizer = Tokenizer(models.BPE(vocab=first, merges=merges, ignore_merges=True))
        tokenizer.pre_tokenizer = _pre_tokenizer(with_actions=True)
        return cls(tokenizer)


def _pre_tokenizer(*, with_actions: bool) -> pre_tokenizers.PreTokenizer:
    """Cut text into pieces that no token crosses; to learn merges, without those that are tokens already."""
    pieces = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if with_actions:
        return pre_tokenizers.Sequence([pieces, as_bytes])
    dropped = pre_tokenizers.Split(Regex(_PARTS_OF_ACTIONS), "removed")
    return pre_tokenizers.Sequence([dropped, pieces, as_bytes])
