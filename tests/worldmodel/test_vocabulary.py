import pytest

from worldmodel.vocabulary import bytes_by_character, fixed_vocabulary, spell


def test_the_alphabet_is_the_one_of_tokenizers():
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = bytes_by_character()
    assert sorted(alphabet) == sorted(ByteLevel.alphabet())
    assert sorted(alphabet.values()) == list(range(256))


@pytest.mark.parametrize("text", ["plain", ", dy=", "é\n😀"])
def test_spelling_is_undone_by_the_alphabet(text):
    alphabet = bytes_by_character()
    assert bytes(alphabet[character] for character in spell(text)).decode() == text


def test_the_first_tokens_are_markers_fields_signs_digits():
    words = list(fixed_vocabulary())
    assert words[:9] == [
        "<pad>", "<bos>", "<eos>", "<image>", "</image>",
        "action:Ġdx=", ",Ġdy=", ",Ġdyaw=", ",Ġdt=",
    ]  # fmt: skip
    assert words[9:31] == [*"+-0123456789", *(f"{digit}." for digit in "0123456789")]
    assert len(words) == 5 + 4 + 256 + 10
