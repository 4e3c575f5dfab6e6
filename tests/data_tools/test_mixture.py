import json

import numpy as np
import pytest

from data_tools.builders import make_builders
from data_tools.document_config import DocumentConfig
from data_tools.documents import Document, Image, Kind, Text, segments_of
from data_tools.mixture import Mixture, MixtureConfig, Shard
from tests.data_tools.recordings import drives

PAPER = MixtureConfig(text=50.0, image_text=22.5, video=25.0, action=2.5)
BUILDERS = make_builders(drives(), ["some plain words to read " * 60], DocumentConfig())


def count_tokens(document: Document) -> int:
    return sum(
        18 if isinstance(segment, Image) else len(segment.text) // 3 + 1 for segment in segments_of(document)
    )


def mixture(*, seed: int = 0, shard: Shard | None = None, config: MixtureConfig | None = None) -> Mixture:
    shares = (config or MixtureConfig()).token_shares
    return Mixture(BUILDERS, shares, seed=seed, count_tokens=count_tokens, shard=shard)


def take(stream: Mixture, count: int) -> list[Document]:
    return [next(stream) for _ in range(count)]


@pytest.mark.parametrize("config", [MixtureConfig(), PAPER])
def test_shares_of_tokens_are_met_within_one_percent(config):
    stream = mixture(config=config)
    take(stream, 4000)
    total = sum(stream.num_tokens.values())
    for kind, share in config.token_shares.items():
        assert abs(stream.num_tokens[kind] / total - share) < 0.01


def test_shares_of_nano_and_of_the_paper():
    nano, paper = MixtureConfig().token_shares, PAPER.token_shares
    assert nano == pytest.approx(
        {
            Kind.forward: 0.48,
            Kind.inverse: 0.06,
            Kind.instructed: 0.06,
            Kind.caption: 0.05,
            Kind.question: 0.05,
            Kind.video: 0.2,
            Kind.text: 0.1,
        }
    )
    assert sum(paper.values()) == pytest.approx(1.0)
    assert paper[Kind.text] == pytest.approx(0.5)
    assert paper[Kind.caption] + paper[Kind.question] == pytest.approx(0.225)
    assert paper[Kind.forward] == pytest.approx(0.02)


def test_resuming_equals_an_unbroken_run():
    unbroken, broken = mixture(), mixture()
    expected = take(unbroken, 90)
    take(broken, 37)
    state = json.loads(json.dumps(broken.state_dict()))
    resumed = mixture()
    resumed.load_state_dict(state)
    assert take(resumed, 53) == expected[37:]
    assert resumed.state_dict() == unbroken.state_dict()


def test_a_document_depends_on_seed_kind_and_number_only():
    stream = mixture(seed=5)
    before = stream.document(Kind.forward, 11)
    take(stream, 20)
    assert stream.document(Kind.forward, 11) == before
    assert mixture(seed=5, config=PAPER).document(Kind.forward, 11) == before
    assert mixture(seed=6).document(Kind.forward, 11) != before
    assert stream.document(Kind.forward, 12) != before


def test_shards_take_turns_in_the_one_stream():
    whole = mixture()
    for rank, worker in np.ndindex(2, 3):
        shard = Shard.of(rank=rank, num_ranks=2, worker=worker, num_workers=3)
        part = mixture(shard=shard)
        for number in range(3):
            assert part.document(Kind.video, number) == whole.document(
                Kind.video, rank * 3 + worker + 6 * number
            )


def test_a_kind_without_weight_needs_no_builder_and_never_comes():
    only = {kind: BUILDERS[kind] for kind in (Kind.video, Kind.text)}
    shares = {Kind.video: 1.0, Kind.text: 1.0, Kind.forward: 0.0}
    stream = Mixture(only, shares, seed=0, count_tokens=count_tokens)
    assert {document.kind for document in take(stream, 30)} == {Kind.video, Kind.text}
    with pytest.raises(ValueError, match="no builder for forward"):
        Mixture(only, {Kind.forward: 1.0}, seed=0, count_tokens=count_tokens)


def test_a_state_of_another_mixture_is_refused():
    state = mixture(seed=1).state_dict()
    with pytest.raises(ValueError, match="state is of another mixture"):
        mixture(seed=2).load_state_dict(state)
    with pytest.raises(ValueError, match="state is of another mixture"):
        mixture(seed=1, config=MixtureConfig(video=0.0)).load_state_dict(state)
    with pytest.raises(ValueError, match="needs num_documents"):
        mixture(seed=1).load_state_dict({})


def test_bad_weights_and_shards_are_refused():
    with pytest.raises(ValueError, match="weights of a mixture"):
        MixtureConfig(text=-1.0)
    with pytest.raises(ValueError, match="weights of a mixture"):
        MixtureConfig(caption=0.0, question=0.0)
    for share in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite shares, none negative, not all 0"):
            Mixture(BUILDERS, {Kind.text: 1.0, Kind.video: share}, seed=0, count_tokens=count_tokens)
    with pytest.raises(ValueError, match="finite shares, none negative, not all 0"):
        Mixture(BUILDERS, {Kind.text: 0.0}, seed=0, count_tokens=count_tokens)
    with pytest.raises(ValueError, match="index must be"):
        Shard(index=2, num_shards=2)
    with pytest.raises(ValueError, match="worker must be"):
        Shard.of(rank=0, num_ranks=1, worker=3, num_workers=2)


def test_a_document_without_tokens_is_refused():
    stream = Mixture(BUILDERS, {Kind.text: 1.0}, seed=0, count_tokens=lambda document: 0)
    with pytest.raises(ValueError, match="has 0 tokens"):
        next(stream)


def test_the_counter_sees_texts():
    assert count_tokens(Document(Kind.text, (Text("abcdef", 1.0),))) == 3
