"""An epoch gives each document once, in another order for another seed, and goes on where it was."""

import pytest

from data_tools.documents import Document, Kind, Text
from worldmodel.epoch import Epoch

DOCUMENTS = [
    Document(Kind.question if n % 3 else Kind.caption, (Text("x" * (n + 1), 1.0),)) for n in range(11)
]


def epoch(seed: int = 0) -> Epoch:
    return Epoch(DOCUMENTS, seed=seed, count_tokens=lambda document: len(document.context[0].text))  # pyright: ignore


def test_every_document_comes_exactly_once():
    one = epoch()
    found = list(one)
    assert len(found) == 11 and set(found) == set(DOCUMENTS)
    assert found != DOCUMENTS and found == list(epoch()) and found != list(epoch(1))
    assert one.num_documents == {Kind.caption: 4, Kind.question: 7}
    assert sum(one.num_tokens.values()) == sum(range(1, 12))


def test_it_goes_on_where_it_was():
    one, other = epoch(), epoch()
    first = [next(one) for _ in range(4)]
    other.load_state_dict(one.state_dict())
    assert [*first, *other] == list(epoch())
    assert other.num_tokens == {k: v for k, v in other.num_tokens.items() if v > 0}


@pytest.mark.parametrize("change", [{"seed": 3}, {"length": 4}, {"position": 12}, {"num_tokens": None}])
def test_the_state_of_another_epoch_is_refused(change):
    with pytest.raises(ValueError, match="epoch"):
        epoch().load_state_dict(epoch().state_dict() | change)
