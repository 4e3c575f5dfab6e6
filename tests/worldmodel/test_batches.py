"""Laws of the stream of batches: texts without room, and where it goes on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_tools.document_config import DocumentConfig
from data_tools.mixture import MixtureConfig
from tests.worldmodel.tiny_run import make_config, make_corpus
from worldmodel.batches import Batches
from worldmodel.corpus import make_batches, make_tokenizer
from worldmodel.tokenizer import TextTokenizer

NUMBERS = "0123456789" * 40
"""Every digit is a token."""


def _batches(*texts: str, **changes: object) -> Batches:
    config = make_config(Path(), documents=DocumentConfig(num_targets=4, max_characters=400), **changes)
    corpus = replace(make_corpus(0), texts=texts)
    tokenizer = make_tokenizer(config, corpus)
    return make_batches(config, corpus, tokenizer, latents_per_frame=4, role="training")


def test_text_that_no_row_holds_is_left_out_and_counted():
    batches = _batches(NUMBERS, "a wall ahead, a door on the left")
    for _ in range(5):
        next(batches)
    assert batches.num_skipped > 0
    other = _batches(NUMBERS, "a wall ahead, a door on the left")
    other.load_state_dict(batches.state_dict())
    assert other.num_skipped == batches.num_skipped
    assert torch.equal(next(other).ids, next(batches).ids)


def test_a_state_of_other_data_or_without_an_entry_is_refused():
    batches, other = _batches("a wall ahead"), _batches("a door on the left")
    state = batches.state_dict()
    with pytest.raises(ValueError, match="of other data"):
        other.load_state_dict(state)
    for name in state:
        with pytest.raises(ValueError, match=r"state of batches needs|of other data"):
            batches.load_state_dict({key: value for key, value in state.items() if key != name})


def test_no_text_of_a_batch_is_tokenised_twice(monkeypatch):
    seen: list[str] = []
    encode_many = TextTokenizer.encode_many

    def recording(tokenizer, texts):
        seen.extend(texts)
        return encode_many(tokenizer, texts)

    batches = _batches("a wall ahead")
    monkeypatch.setattr(TextTokenizer, "encode_many", recording)
    next(batches)
    assert len(seen) == len(set(seen)) > 5
    next(batches)
    assert len(seen) > len(set(seen))  # nothing is kept for ever


def test_text_that_never_fits_is_an_error_and_no_hang():
    only_text = MixtureConfig(text=1.0, image_text=0.0, video=0.0, action=0.0)
    with pytest.raises(ValueError, match=r"lower documents\.max_characters"):
        next(_batches(NUMBERS, mixture=only_text))
