"""Held-out losses by hand: a model that predicts zeros errs by the mean square of the latents."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data_tools.documents import Document, FrameKey, Image, Kind, Text, frames_of
from tests.worldmodel.conftest import NUM_LATENTS
from tests.worldmodel.tiny_run import make_config, make_corpus
from worldmodel.corpus import make_batches, make_tokenizer
from worldmodel.documents import PackedBatch, Packer
from worldmodel.flow import FlowConfig
from worldmodel.heldout import heldout_losses
from worldmodel.objective import ObjectiveConfig
from worldmodel.transfusion import Transfusion

VIDEO = Document(Kind.video, tuple(Image(FrameKey(0, frame), is_target=True) for frame in (30, 31, 32)))
TEXT = Document(Kind.text, (Text("a wall ahead", 1.0),))


@pytest.fixture
def pack(tokenizer, latents):
    def packed(*documents: Document, clean_context_share: float = 1.0) -> PackedBatch:
        packer = Packer(
            tokenizer,
            latents,
            FlowConfig(clean_context_share=clean_context_share),
            num_rows=1,
            tokens_per_row=300,
            latents_per_frame=NUM_LATENTS,
        )
        rows = packer.empty()
        for document in documents:
            assert rows.place(document, packer.length(document))
        return packer.pack(rows, rng=np.random.default_rng(0))

    return packed


def report(model, batch: PackedBatch) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    return heldout_losses(model, [batch], ObjectiveConfig(), generator=generator, dtype=torch.float32)


def test_only_frames_whose_past_is_clean_count_as_clean_and_draft(
    make_model, pack, latents, forward_document
):
    model = make_model()
    torch.nn.init.zeros_(model.latent_output.weight)
    document = forward_document()
    found = report(model, pack(document, VIDEO, TEXT))
    # Two context frames, two jumps, and a chain whose second step sees the first, which is noised.
    jumps_and_first_step = [latents.table[key.frame] for key in frames_of(document)[2:5]]
    expected = torch.stack(jumps_and_first_step).square().mean().item()
    assert found["flow/draft/forward"] == pytest.approx(expected, rel=1e-5)
    assert found["flow/clean/forward"] == pytest.approx(expected, rel=1e-5)
    assert found["flow/clean/video"] == pytest.approx(latents.table[30].square().mean().item(), rel=1e-5)
    assert "flow/draft/video" not in found
    assert not any(name.startswith("flow/noisy") for name in found)
    assert 0 < found["nats/text"] < 2 * np.log(320)


def test_a_draft_does_not_depend_on_other_frames_that_are_predicted(make_model, pack, forward_document):
    model, batch = make_model(), pack(forward_document())
    last = batch.frame == batch.frame.max()  # the second step of the chain
    changed = replace(batch, latents=torch.where(last[..., None], batch.latents + 5, batch.latents))
    one, other = (report(model, each)["flow/draft/forward"] for each in (batch, changed))
    assert one == pytest.approx(other, rel=1e-6)


def test_frames_of_noised_documents_are_reported_apart(make_model, pack):
    batch = replace(pack(VIDEO), has_clean_context=torch.zeros(1, 300, dtype=torch.bool))
    found = report(make_model(), batch)
    assert {name for name in found if name.startswith("flow/") and "time" not in name} == {"flow/noisy/video"}


@pytest.mark.parametrize("rows_at_once", [1, 2, 5])
def test_losses_do_not_depend_on_how_many_rows_are_computed_at_once(tmp_path, rows_at_once):
    config = make_config(tmp_path, num_rows=3)
    corpus = make_corpus(1)
    tokenizer = make_tokenizer(config, corpus)
    stream = make_batches(config, corpus, tokenizer, latents_per_frame=4, role="heldout")
    batches = [next(stream), next(stream)]
    model = Transfusion(config.model, vocab_size=tokenizer.vocab_size, latent_channels=64)
    model.initialise(generator=torch.Generator().manual_seed(1))
    torch.nn.init.normal_(model.latent_output.weight, std=0.1, generator=torch.Generator().manual_seed(2))
    found, expected = (
        heldout_losses(
            model,
            iter(batches),
            ObjectiveConfig(),
            generator=torch.Generator().manual_seed(0),
            dtype=torch.float32,
            rows_at_once=rows,
        )
        for rows in (rows_at_once, None)
    )
    assert found.keys() == expected.keys()
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-5)
