"""Laws of packing."""

import numpy as np
import pytest
import torch

from data_tools.documents import Branch, Document, FrameKey, Image, Kind, Text
from tests.worldmodel.conftest import CHANNELS, NUM_LATENTS
from worldmodel.attention import hybrid_mask
from worldmodel.documents import Packer, draw_noise_levels
from worldmodel.flattening import frame_grid
from worldmodel.flow import FlowConfig
from worldmodel.objective import ObjectiveConfig, losses


def make_packer(tokenizer, latents, **sizes):
    settings = dict(num_rows=2, tokens_per_row=400, latents_per_frame=NUM_LATENTS) | sizes
    return Packer(tokenizer, latents, FlowConfig(), **settings)


def pack(packer, documents, seed=0):
    rows = packer.empty()
    for document in documents:
        assert rows.place(document, packer.length(document))
    return packer.pack(rows, rng=np.random.default_rng(seed))


def test_row_by_hand(tokenizer, latents):
    document = Document(Kind.caption, (Image(FrameKey(0, 4), is_target=False), Text("a wall", 1.0)), ())
    batch = pack(make_packer(tokenizer, latents, num_rows=1, tokens_per_row=30), [document])
    words = tokenizer.encode("a wall").ids.tolist()
    length = 1 + 1 + NUM_LATENTS + 1 + len(words) + 1
    assert make_packer(tokenizer, latents).length(document) == length
    ids = batch.ids[0].tolist()
    assert ids[:2] == [tokenizer.begin, tokenizer.image_begin]
    assert ids[2 + NUM_LATENTS : length] == [tokenizer.image_end, *words, tokenizer.end]
    assert set(ids[length:]) == {tokenizer.pad}
    in_time = batch.positions[0, :length, 0].tolist()
    assert in_time == [0, 1, *[2] * NUM_LATENTS, 3, *range(4, 4 + len(words)), 4 + len(words)]
    assert batch.positions[0, 2 : 2 + NUM_LATENTS, 1:].tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    torch.testing.assert_close(batch.latents[0, 2 : 2 + NUM_LATENTS], latents.table[4])
    assert batch.text_target.tolist() == [tokenizer.image_begin, *words, tokenizer.end]
    assert batch.text_from.tolist() == [0, *range(2 + NUM_LATENTS, length - 1)]


def test_branches_start_where_the_context_ends_and_do_not_meet(tokenizer, latents, forward_document):
    document = forward_document()
    batch = pack(make_packer(tokenizer, latents, num_rows=1), [document])
    field = tokenizer.encode("action: dx=").ids[0]
    starts = torch.nonzero(batch.ids[0] == field)[:, 0].tolist()
    assert len(starts) == 4
    context_end = starts[0] - 1
    first = batch.positions[0, context_end, 0] + 1
    assert [batch.positions[0, start, 0].item() for start in starts[:3]] == [first] * 3
    assert batch.positions[0, starts[3], 0] > first  # the second step of the chain goes on
    mask = hybrid_mask(batch.reach, batch.frame)[0]
    assert mask[starts[1]].nonzero()[:, 0].tolist() == [*range(context_end + 1), starts[1]]
    assert mask[starts[3], starts[2] : starts[3]].all()
    assert not mask[starts[3], starts[0] : starts[2]].any()
    predecessors = dict(zip(range(len(batch.text_from)), batch.text_from.tolist(), strict=True))
    from_context = [k for k, target in enumerate(batch.text_target.tolist()) if target == field]
    assert [predecessors[k] for k in from_context] == [context_end] * 3 + [starts[3] - 1]


def test_a_document_has_the_same_losses_alone_and_packed_with_others(
    make_model, tokenizer, latents, forward_document
):
    model = make_model()
    first = forward_document(seed=1)
    others = [forward_document(seed=2, num_context=1), Document(Kind.text, (Text("a wall ahead", 1.0),))]

    def errors(documents):
        packer = make_packer(tokenizer, latents, num_rows=1, tokens_per_row=500)
        batch = pack(packer, documents)
        length = packer.length(first)
        noise = torch.randn(1, 500, CHANNELS, generator=torch.Generator().manual_seed(2))
        found = losses(model, batch, noise, ObjectiveConfig(), dtype=torch.float32)
        inside = torch.nonzero(batch.is_flow_target)[:, 1] < length
        return found.flow_errors[inside], found.token_nats[batch.text_from < length]

    for alone, packed in zip(errors([first]), errors([first, *others]), strict=True):
        torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


def test_a_branch_does_not_change_when_its_siblings_do(make_model, tokenizer, latents, forward_document):
    model = make_model()
    document = forward_document()
    fewer = Document(document.kind, document.context, document.branches[:1])
    lone, full = (pack(make_packer(tokenizer, latents, num_rows=1), [d]) for d in (fewer, document))
    noise = torch.randn(1, 400, CHANNELS, generator=torch.Generator().manual_seed(2))
    nats = [
        losses(model, batch, noise, ObjectiveConfig(), dtype=torch.float32).token_nats
        for batch in (lone, full)
    ]
    torch.testing.assert_close(nats[1][: len(nats[0])], nats[0], atol=1e-5, rtol=1e-5)


def test_noise_levels_follow_the_rules():
    config = FlowConfig(clean_context_share=0.6)
    document = Document(
        Kind.forward,
        tuple(Image(FrameKey(0, k), False) for k in range(3)),
        (Branch((Image(FrameKey(0, 5), True),)),),
    )
    rng = np.random.default_rng(0)
    levels = [draw_noise_levels(document, config, latent_size=2048, rng=rng) for _ in range(2000)]
    clean = [level for level in levels if level.has_clean_context]
    assert 0.56 < len(clean) / len(levels) < 0.64
    targets = [False, False, False, True]
    assert all((level.times[:3] == 1).all() and level.is_target.tolist() == targets for level in clean)
    noisy = [level for level in levels if not level.has_clean_context]
    assert all(level.is_target.all() and len(set(level.times.tolist())) == 4 for level in noisy)
    assert 0.45 < np.mean([level.times[3] for level in levels]) < 0.55


def test_a_document_longer_than_a_row_is_refused(tokenizer, latents, forward_document):
    packer = make_packer(tokenizer, latents, tokens_per_row=50)
    document = forward_document()
    with pytest.raises(ValueError, match="a row holds 50; raise tokens_per_row"):
        packer.empty().place(document, packer.length(document))


def test_latents_that_form_no_square_are_refused():
    assert frame_grid(4).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    with pytest.raises(ValueError, match="a square number of latents a frame, got 5"):
        frame_grid(5)


def test_rows_fill_up(tokenizer, latents):
    packer = make_packer(tokenizer, latents, num_rows=2, tokens_per_row=30)
    rows = packer.empty()
    document = Document(Kind.text, (Text("a wall ahead", 1.0),))
    length = packer.length(document)
    placed = 0
    while rows.place(document, length):
        placed += 1
    assert placed == 2 * (30 // length)
