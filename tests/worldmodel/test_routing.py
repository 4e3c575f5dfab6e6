"""Laws of what is recorded of routing, of its statistics, and of the command's files."""

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.worldmodel.conftest import NUM_LATENTS
from worldmodel.attend import PackedAttend
from worldmodel.attention import hybrid_mask
from worldmodel.documents import Packer
from worldmodel.feedforward import ExpertsConfig, FeedForwardKind, Modalities
from worldmodel.flow import FlowConfig
from worldmodel.router import Router, top_experts
from worldmodel.routing import write_table
from worldmodel.routing_counts import (
    GENERATION,
    NUM_GROUPS,
    TEXT,
    UNDERSTANDING,
    RoutingCounts,
    groups_of,
    recorded,
)
from worldmodel.routing_plots import draw
from worldmodel.routing_statistics import preferences, statistics_of
from worldmodel.transfusion import TokenInputs

EXPERTS = ExpertsConfig(num_experts=5, top_k=2, expert_hidden=8, shared_hidden=8)


@pytest.fixture
def batch(tokenizer, latents, forward_document):
    flow = FlowConfig(clean_context_share=1.0)
    packer = Packer(tokenizer, latents, flow, num_rows=1, tokens_per_row=220, latents_per_frame=NUM_LATENTS)
    rows = packer.empty()
    document = forward_document()
    assert rows.place(document, packer.length(document))
    return packer.pack(rows, rng=np.random.default_rng(0))


def forward(model, batch):
    inputs = TokenInputs(**{item.name: getattr(batch, item.name) for item in dataclasses.fields(TokenInputs)})
    attend = PackedAttend(hybrid_mask(batch.reach, batch.frame))
    return model(inputs, attend, Modalities.of(batch.is_image))


def counts_with(text: list[int], understanding: list[int], generation: list[list[int]]) -> RoutingCounts:
    """One layer; the first bins of flow time as given, the others empty."""
    counts = torch.zeros(1, NUM_GROUPS, len(text), dtype=torch.long)
    counts[0, TEXT], counts[0, UNDERSTANDING] = torch.tensor(text), torch.tensor(understanding)
    counts[0, GENERATION : GENERATION + len(generation)] = torch.tensor(generation).view(-1, len(text))
    return RoutingCounts(counts)


def test_groups_of_tokens(batch):
    groups = groups_of(batch)
    assert (groups[batch.kind < 0] == -1).all() and (batch.kind < 0).any()
    is_token = batch.kind >= 0
    assert (groups[is_token & ~batch.is_image] == TEXT).all()
    context = batch.is_image & ~batch.is_flow_target
    assert context.sum() == 2 * NUM_LATENTS and (groups[context] == UNDERSTANDING).all()
    times = batch.times[batch.is_flow_target]
    assert groups[batch.is_flow_target].tolist() == (GENERATION + (10 * times).int()).tolist()


def test_all_tokens_but_padding_are_counted_once_for_each_of_their_experts(make_model, batch):
    model = make_model(feedforward=FeedForwardKind.experts, experts=EXPERTS)
    with recorded(model, groups_of(batch)) as found:
        forward(model, batch)
    (counts,) = found
    groups = groups_of(batch)
    for group in range(NUM_GROUPS):
        assert counts.counts[:, group].sum(dim=1).tolist() == [2 * int((groups == group).sum())] * 2


def test_counts_are_those_of_the_routers(make_model, batch):
    """The inputs of the second layer's router, caught by hand, go to the experts that were counted."""
    model = make_model(feedforward=FeedForwardKind.experts, experts=EXPERTS)
    _, router = (module for module in model.modules() if isinstance(module, Router))
    caught = []
    router.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    with recorded(model, groups_of(batch)) as found:
        forward(model, batch)
    _, experts = top_experts(caught[0] @ router.weight.T, top_k=2)
    of_text = experts[groups_of(batch).flatten() == TEXT]
    assert found[0].text[1].tolist() == torch.bincount(of_text.flatten(), minlength=5).tolist()


def test_recording_leaves_nothing_behind_and_changes_nothing(make_model, batch):
    model = make_model(feedforward=FeedForwardKind.experts, experts=EXPERTS)
    before, _ = forward(model, batch)
    with recorded(model, groups_of(batch)) as found:
        during, _ = forward(model, batch)
        forward(model, batch)
    forward(model, batch)
    assert torch.equal(before, during)
    assert len(found) == 2 and torch.equal(found[0].counts, found[1].counts)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_without_experts_is_refused(make_model, batch):
    with pytest.raises(ValueError, match=r"needed a model with experts.*model\.feedforward=experts"):
        with recorded(make_model(), groups_of(batch)):
            pass


def test_preferences_do_not_depend_on_how_many_images_there_are():
    """Expert 0 gets text alone, 1 half of both, 2 images alone, 3 nothing."""
    for images in (1, 50):
        found = counts_with([4, 4, 0, 0], [0, 4 * images, 4 * images, 0], [])
        torch.testing.assert_close(preferences(found)[0], torch.tensor([0, 0.5, 1, 0.5]).double())


def test_statistics_by_hand():
    found = counts_with([6, 2, 0, 0], [0, 2, 6, 0], [[0, 1, 3, 0], [0, 3, 1, 0]])
    statistics = statistics_of(found, top_k=2)
    assert statistics.num_tokens == {"text": 4, "understanding": 4, "generation": 4}
    assert statistics.text_experts == [0.25] and statistics.image_experts == [0.25]
    load = np.array([6, 8, 10, 0])
    assert statistics.largest_load == [pytest.approx(10 / 6)]
    assert statistics.idle_experts == [0.25]
    shares = load[:3] / 24
    assert statistics.entropy == [pytest.approx(-(shares * np.log(shares)).sum() / np.log(4))]
    # Of two bins an expert has a quarter of one and three quarters of the other: deviation 0.25, mean 0.5.
    assert statistics.time_variation == [pytest.approx(0.5)]
    expected = np.corrcoef([0, 0.25, 0.75, 0], [0, 0.5, 0.5, 0])[0, 1]
    assert statistics.correlation == [pytest.approx(expected)]


def test_usage_that_does_not_change_has_no_variation_and_equal_uses_correlate():
    found = counts_with([1, 1, 2], [2, 1, 5], [[4, 2, 10], [2, 1, 5], [2, 1, 5]])
    statistics = statistics_of(found, top_k=1)
    assert statistics.time_variation == [pytest.approx(0.0, abs=1e-12)]
    assert statistics.correlation == [pytest.approx(1.0)]


def test_what_cannot_be_computed_is_absent():
    statistics = statistics_of(counts_with([1], [3], []), top_k=1)
    assert statistics.time_variation == [None] and statistics.correlation == [None]
    with pytest.raises(ValueError, match="needed text and image tokens"):
        statistics_of(counts_with([1, 2], [0, 0], []), top_k=1)


def test_the_table_and_the_picture_hold_all_counts(tmp_path):
    found = counts_with([6, 2, 0, 0], [0, 2, 6, 0], [[0, 1, 3, 0], [0, 3, 1, 0]])
    write_table(found, tmp_path / "routing.parquet")
    rows = pq.read_table(tmp_path / "routing.parquet").to_pylist()
    assert sum(row["count"] for row in rows) == int(found.counts.sum())
    (row,) = [row for row in rows if (row["role"], row["time_bin"], row["expert"]) == ("generation", 1, 2)]
    assert row == {
        "layer": 0,
        "modality": "image",
        "role": "generation",
        "time_bin": 1,
        "expert": 2,
        "count": 1,
    }
    draw(found, statistics_of(found, top_k=2), tmp_path / "routing.png")
    assert (tmp_path / "routing.png").read_bytes().startswith(b"\x89PNG")
