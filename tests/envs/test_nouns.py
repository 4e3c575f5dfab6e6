from envs.nouns import NOUNS, is_plural, noun_of


def test_known_objects_have_their_noun_and_unknown_ones_their_words():
    assert noun_of("TorchTree") == "a bare tree"
    assert noun_of("GreenBarrel2") == "a green barrel"
    assert noun_of("OldBFGCrate") == "an old bfg crate"


def test_effects_are_never_spoken_of():
    assert noun_of("TeleportFog") is None
    assert noun_of("42") is None


def test_nouns_are_lower_case_phrases_that_agree_with_their_verb():
    for noun in NOUNS.values():
        assert noun == noun.lower() and not any(letter.isdigit() for letter in noun)
    assert is_plural("a few shotgun shells") and not is_plural("a barrel")
