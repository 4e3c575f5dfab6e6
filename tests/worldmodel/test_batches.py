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


def test_text_that_never_fits_is_an_error_and_no_hang():
    only_text = MixtureConfig(text=1.0, image_text=0.0, video=0.0, action=0.0)
    with pytest.raises(ValueError, match=r"lower documents\.max_characters"):
        next(_batches(NUMBERS, mixture=only_text))
