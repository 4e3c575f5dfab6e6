"""Vocabulary: the tokens that every vocabulary begins with, and the alphabet in which it spells bytes."""

MARKERS = ("<pad>", "<bos>", "<eos>", "<image>", "</image>")
FIELDS = ("action: dx=", ", dy=", ", dyaw=", ", dt=")
SIGNS = ("+", "-")
DIGITS = tuple("0123456789")
POINTED_DIGITS = tuple(f"{digit}." for digit in DIGITS)


def fixed_vocabulary() -> dict[str, int]:
    """Return the first tokens: markers, fields, signs, digits, pointed digits, all other bytes."""
    named = (*SIGNS, *DIGITS)
    others = sorted(character for character in bytes_by_character() if character not in named)
    words = (*MARKERS, *map(spell, FIELDS), *named, *POINTED_DIGITS, *others)
    return {word: index for index, word in enumerate(words)}


def bytes_by_character() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for.

    Source: the printable alphabet of GPT-2, as `tokenizers` has it.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    shown = [*printable, *(256 + number for number in range(len(others)))]
    return {chr(character): byte for character, byte in zip(shown, [*printable, *others], strict=True)}


def spell(text: str) -> str:
    """Write a text in the byte-level alphabet."""
    characters = {byte: character for character, byte in bytes_by_character().items()}
    return "".join(characters[byte] for byte in text.encode())
