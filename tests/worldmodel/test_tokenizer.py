import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.action_text import format_actions
from data_tools.builders import make_builders
from data_tools.document_config import DocumentConfig
from data_tools.documents import texts_of
from tests.data_tools.recordings import drives
from worldmodel.tokenizer import TextTokenizer, TokenizedText
from worldmodel.vocabulary import DIGITS, FIELDS, MARKERS, POINTED_DIGITS

CORPUS = [
    "The robot turns left, then it goes forward through the door to the other room. " * 20,
    "A 3 + 4 = 7.",
]
ACTION = "action: dx=+0.335, dy=-0.020, dyaw=+0.120, dt=0.25"
TOKENIZER = TextTokenizer.train(CORPUS, 320)


def pieces(text: str) -> list[str]:
    return [TOKENIZER.decode([index]) for index in TOKENIZER.encode(text).ids.tolist()]


def assert_equal(first: TokenizedText, second: TokenizedText) -> None:
    for name in ("ids", "places", "values", "is_value"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_an_action_is_fields_signs_and_digits():
    expected = "action: dx=|+|0.|3|3|5|, dy=|-|0.|0|2|0|, dyaw=|+|0.|1|2|0|, dt=|0.|2|5"
    assert pieces(ACTION) == expected.split("|")
    tokens = TOKENIZER.encode(ACTION)
    number = [0, 1, 2, 3, 4, 5]
    assert tokens.places.tolist() == [*number, *number, *number, 0, 2, 3, 4]
    np.testing.assert_array_equal(
        tokens.values[tokens.is_value], np.array([0.335, -0.02, 0.12, 0.25], dtype=np.float32)
    )


@given(
    st.lists(st.floats(-99.999, 99.999), min_size=2, max_size=2),
    st.floats(-3.142, 3.142),
    st.floats(0, 99.99),
)
@settings(max_examples=200, deadline=None)
def test_every_action_is_lossless_of_known_length_and_holds_its_values(moves, dyaw, dt):
    (text,) = format_actions(np.array([[*moves, dyaw, dt]]))
    tokens = TOKENIZER.encode(text)
    numbers = [float(part.split("=")[1]) for part in text.split(", ")]
    dx, dy, _, dt_s = numbers
    assert TOKENIZER.decode(tokens.ids) == text
    assert len(tokens) == 22 + (abs(dx) >= 10) + (abs(dy) >= 10) + (dt_s >= 10)
    np.testing.assert_array_equal(tokens.values[tokens.is_value], np.array(numbers, dtype=np.float32))
    assert_equal(TOKENIZER.encode_many([text])[0], tokens)


@given(st.text() | st.text(alphabet="0123456789.+-, adtxyw=:\n<>é", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_lossless_without_markers_and_with_single_digits(text):
    tokens = TOKENIZER.encode(text)
    assert TOKENIZER.decode(tokens.ids) == text
    assert tokens.ids.min(initial=len(MARKERS)) >= len(MARKERS)
    for piece in pieces(text):
        if any(character in "0123456789" for character in piece):
            assert piece in DIGITS + POINTED_DIGITS
        assert piece in "+-" or piece in FIELDS or not set(piece) & set("+-")


@given(st.text(alphabet="0123456789.+- a", max_size=30), st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_what_a_token_says_depends_only_on_those_before_it(tail, length):
    tokens = TOKENIZER.encode(ACTION + tail)
    length += 10
    first = TOKENIZER.annotate(tokens.ids[:length])
    np.testing.assert_array_equal(first.places, tokens.places[:length])
    np.testing.assert_array_equal(first.values, tokens.values[:length])
    np.testing.assert_array_equal(first.is_value, tokens.is_value[:length])


@pytest.mark.parametrize("prefix", ["", " ", "\n", "turn left. ", "Go 3 m.\n\n  "])
def test_an_action_is_cut_alike_after_any_text_that_ends_in_space(prefix):
    tokens = TOKENIZER.encode(prefix + ACTION)
    np.testing.assert_array_equal(tokens.ids[-22:], TOKENIZER.encode(ACTION).ids)
    np.testing.assert_array_equal(tokens.places[-22:], TOKENIZER.encode(ACTION).places)


def test_signs_and_values_belong_to_actions_only():
    tokens = TOKENIZER.encode("-5 and +0.335 and 3-4 in 1994.")
    assert not tokens.is_value.any()
    assert [place for place in tokens.places.tolist() if place] == [7, 2, 3, 4, 5, 7, 7, 7, 8, 9, 10]


def test_markers_in_a_text_are_ordinary_characters():
    text = "<pad><bos><eos><image></image>"
    assert TOKENIZER.decode(TOKENIZER.encode(text).ids) == text
    assert TOKENIZER.encode(text).ids.min() >= len(MARKERS)
    markers = [TOKENIZER.pad, TOKENIZER.begin, TOKENIZER.end, TOKENIZER.image_begin, TOKENIZER.image_end]
    assert TOKENIZER.decode(markers) == text
    assert markers == [0, 1, 2, 3, 4]


def test_many_texts_equal_one_by_one():
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(200, 4)) * [4.0, 9.0, 0.7, 4.0]
    actions[:, 3] = np.abs(actions[:, 3])
    texts = [*format_actions(actions), "", "go on", ACTION + " ", ACTION.replace("0.335", "0,335"), "é" * 50]
    texts = [texts[index] for index in rng.permutation(len(texts))]
    for text, tokens in zip(texts, TOKENIZER.encode_many(texts), strict=True):
        assert_equal(tokens, TOKENIZER.encode(text))
    assert TOKENIZER.encode_many([]) == []


def test_a_thousand_actions_take_a_fraction_of_a_second():
    texts = format_actions(np.random.default_rng(0).uniform(0, 3, size=(5000, 4)))
    start = time.process_time()
    TOKENIZER.encode_many(texts)
    # Typically 0.02 s without the shape checks of the tests; the limit is 5,000 a second with them.
    assert time.process_time() - start < 1.0


def test_texts_of_every_document_kind_round_trip():
    builders = make_builders(drives(), CORPUS, DocumentConfig())
    rng = np.random.default_rng(0)
    for builder in builders.values():
        for text in (text.text for _ in range(20) for text in texts_of(builder.build(rng=rng))):
            assert TOKENIZER.decode(TOKENIZER.encode_many([text])[0].ids) == text


def test_training_is_deterministic_and_learns_words():
    again = TextTokenizer.train(CORPUS, 320)
    assert again.vocab_size == TOKENIZER.vocab_size == 320
    text = CORPUS[0][:200]
    np.testing.assert_array_equal(again.encode(text).ids, TOKENIZER.encode(text).ids)
    assert len(TOKENIZER.encode(text)) < len(text) / 2
    assert TextTokenizer.train([], 1024).vocab_size == 275


def test_a_saved_tokenizer_loads_the_same_and_is_not_rewritten(tmp_path):
    path = tmp_path / "tokenizer.json"
    TOKENIZER.save(path)
    loaded = TextTokenizer.load(path)
    for text in (ACTION, CORPUS[1], "é\t12.5"):
        assert_equal(loaded.encode(text), TOKENIZER.encode(text))
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.json", "tokenizer.json"]


def test_foreign_and_broken_files_are_refused(tmp_path):
    from tokenizers import Tokenizer, models

    path = tmp_path / "tokenizer.json"
    with pytest.raises(FileNotFoundError, match="no tokenizer at"):
        TextTokenizer.load(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="is not a JSON file of the `tokenizers` library"):
        TextTokenizer.load(path)
    Tokenizer(models.BPE(vocab={"a": 0}, merges=[])).save(str(path))
    with pytest.raises(ValueError, match="needed a vocabulary of worldnav"):
        TextTokenizer.load(path)


def test_a_tokenizer_that_cuts_numbers_otherwise_is_refused(tmp_path):
    from tokenizers import Tokenizer, pre_tokenizers

    path = tmp_path / "tokenizer.json"
    TOKENIZER.save(path)
    other = Tokenizer.from_file(str(path))
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    other.save(str(path))
    with pytest.raises(ValueError, match="does not cut"):
        TextTokenizer.load(path)


def test_a_vocabulary_without_room_for_bytes_is_refused():
    with pytest.raises(ValueError, match="at least 275"):
        TextTokenizer.train(CORPUS, 256)
