import numpy as np
import pytest

from data_tools.builders import Builder, make_builders
from data_tools.document_config import DocumentConfig
from data_tools.documents import Kind, texts_of
from tests.data_tools.recordings import HELD_OUT_WORDS, drive, drives

TEXT = "plain words to read " * 50


def test_each_builder_makes_its_kind_and_equal_streams_make_equal_documents():
    builders = make_builders(drives(), [TEXT], DocumentConfig())
    assert set(builders) == set(Kind)
    for kind, builder in builders.items():
        assert isinstance(builder, Builder)
        first, again = (builder.build(rng=np.random.default_rng(7)) for _ in range(2))
        assert first.kind is kind
        assert first == again


def test_training_documents_never_hold_a_held_out_wording():
    builders = make_builders(drives(), [TEXT], DocumentConfig())
    rng = np.random.default_rng(0)
    for builder in builders.values():
        for _ in range(100):
            assert not any(HELD_OUT_WORDS in text.text for text in texts_of(builder.build(rng=rng)))


def test_only_the_kinds_asked_for_need_their_data():
    assert set(
        make_builders([drive(5, seed=1, with_texts=False)], [], DocumentConfig(), kinds=[Kind.forward])
    )
    with pytest.raises(ValueError, match="caption"):
        make_builders([drive(5, seed=1, with_texts=False)], [], DocumentConfig(), kinds=[Kind.caption])
