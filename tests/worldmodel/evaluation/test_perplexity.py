"""Perplexity: windows cover every token once, and cost what a plain pass of the model says."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from data_tools.documents import Document, Kind, Text
from tests.worldmodel.conftest import IndexedRepresentation
from worldmodel.documents import Packer
from worldmodel.evaluation import perplexity
from worldmodel.evaluation.perplexity import PerplexityConfig, rows_of, score_source, window_nats
from worldmodel.flow import FlowConfig, Prediction
from worldmodel.objective import ObjectiveConfig, losses
from worldmodel.predictor import WorldModel

DOCUMENTS = ["turn left, then go forward two metres 3.25", "a wall", "forward two, ümläut, action: dx=+0.335"]


@pytest.fixture
def model(make_model, tokenizer, latents) -> WorldModel:
    return WorldModel(make_model(), tokenizer, IndexedRepresentation(latents), prediction=Prediction.latent)


def config(**settings: object) -> PerplexityConfig:
    defaults = {"model": "", "data": [], "out": "", "window_tokens": 9, "windows_at_once": 2}
    return PerplexityConfig(**(defaults | settings))  # pyright: ignore


def test_every_token_and_byte_is_counted_once(model):
    windows = score_source(model, DOCUMENTS, config())
    for number, document in enumerate(DOCUMENTS):
        own = [window for window in windows if window.document == number]
        assert sum(window.num_tokens for window in own) == len(model.tokenizer.encode(document))
        assert sum(window.num_bytes for window in own) == len(document.encode())
        assert all(window.num_tokens == 8 for window in own[:-1])


def test_a_window_that_holds_a_document_costs_what_training_says(model, latents):
    packer = Packer(
        model.tokenizer, latents, FlowConfig(), num_rows=1, tokens_per_row=90, latents_per_frame=4
    )
    rows = packer.empty()
    document = Document(Kind.text, (Text(DOCUMENTS[0], 1.0),))
    assert rows.place(document, packer.length(document))
    batch = packer.pack(rows, rng=np.random.default_rng(0))
    noise = torch.zeros(batch.latents.shape)
    with torch.no_grad():
        expected = losses(model.transfusion, batch, noise, ObjectiveConfig(), dtype=torch.float32).token_nats
    (found,) = window_nats(model, [model.tokenizer.encode(DOCUMENTS[0]).ids])
    torch.testing.assert_close(found, expected[:-1])  # less <eos>


def test_windows_do_not_depend_on_others_in_their_batch(model):
    ids = [model.tokenizer.encode(text).ids for text in DOCUMENTS]
    alone = [window_nats(model, [each])[0] for each in ids]
    for one, other in zip(window_nats(model, ids), alone, strict=True):
        torch.testing.assert_close(one, other)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(model):
    torch.nn.init.zeros_(model.transfusion.text_embedding.weight)
    windows = score_source(model, DOCUMENTS, config())
    rows = {row.measure: row for row in rows_of("x", windows, rng=np.random.default_rng(0))}
    size = model.tokenizer.vocab_size
    tokens = sum(len(model.tokenizer.encode(text)) for text in DOCUMENTS)
    num_bytes = sum(len(text.encode()) for text in DOCUMENTS)
    assert rows["perplexity"].value == pytest.approx(size, rel=1e-5)
    assert rows["perplexity"].high == pytest.approx(size, rel=1e-5)
    assert rows["bits_per_byte"].value == pytest.approx(tokens * math.log2(size) / num_bytes, rel=1e-5)
    assert (rows["bits_per_byte"].n, rows["documents"].value) == (num_bytes, 3)
    assert F.softmax(torch.zeros(size), dim=0)[0].item() == pytest.approx(1 / size)


def test_a_source_of_one_document_has_an_interval_over_its_windows(model):
    windows = score_source(model, DOCUMENTS[:1], config())
    rows = rows_of("x", windows, rng=np.random.default_rng(0))
    assert rows[0].over == "windows" and rows[0].low < rows[0].value < rows[0].high  # pyright: ignore


def test_the_command_writes_its_rows_with_what_they_were_made_of(model, tmp_path, monkeypatch):
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in DOCUMENTS))
    monkeypatch.setattr(perplexity, "load_model", lambda name, dtype: model)
    run = config(
        model="nano", data=[str(tmp_path / "lines.jsonl")], out=str(tmp_path / "out"), max_documents=2
    )
    rows = perplexity.run(run)
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["value"] for row in content["rows"]] == [row.value for row in rows]
    assert len(content["data_hash"]) == len(content["model_hash"]) == 16 and "torch" in content["versions"]
    table = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert [row["measure"] for row in table] == [
        "nats_per_token",
        "perplexity",
        "bits_per_byte",
        "documents",
    ]
    assert {row["subset"] for row in table} == {"lines"} and table[3]["value"] == 2


def test_no_data_is_refused():
    with pytest.raises(ValueError, match="at least one path"):
        perplexity.run(config())
