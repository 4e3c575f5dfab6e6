"""Laws of making rows: all measures of what was trained, nothing twice, and the page from rows alone."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_tools.config import to_object
from data_tools.mixture import MixtureConfig
from tests.test_configurations import composed
from tests.worldmodel.ablation.pictures import drive_with_pictures
from tests.worldmodel.tiny_run import SHAPE, make_config, make_corpus
from worldmodel import ablate
from worldmodel.ablate import AblateConfig
from worldmodel.ablation import workshop
from worldmodel.ablation.crew import make_rows
from worldmodel.ablation.measures import MeasureConfig
from worldmodel.ablation.rows import read_rows
from worldmodel.ablation.table import Budget, Run
from worldmodel.ablation.workshop import Workshop, row_path
from worldmodel.corpus import Corpus
from worldmodel.representation.rae import RaeRepresentation, with_statistics

MEASURE = MeasureConfig(num_texts=5, num_documents=3, num_problems=3, horizons=[2], num_steps=2, image_size=8)


def corpus_with_pictures(seed: int) -> Corpus:
    corpus = make_corpus(seed)
    frames = [drive_with_pictures(each.num_frames, seed=seed, size=16).frames for each in corpus.trajectories]
    drives = [replace(each, frames=own) for each, own in zip(corpus.trajectories, frames, strict=True)]
    return replace(corpus, trajectories=drives)


@pytest.fixture
def representation(tmp_path, generator) -> Path:
    untrained = RaeRepresentation.create(SHAPE, generator=generator)
    sizes = (SHAPE.num_tokens, SHAPE.hidden_size)
    made = with_statistics(untrained, mean=torch.zeros(sizes), std=torch.full(sizes, 2.0))
    made.save(tmp_path / "representation")
    return tmp_path / "representation"


def make_run(representation: Path, arm: str, *, num_tokens: int, **changes: object) -> Run:
    config = make_config(Path(), representation=str(representation), **changes)
    budget = Budget(num_tokens=num_tokens)
    return Run(
        table="weighing", arm=arm, seed=config.seed, config=config, budget=budget, measure=MEASURE,
        config_hash=f"{arm}-{num_tokens}",
    )  # fmt: skip


def test_rows_hold_what_was_trained_and_are_made_once(representation, tmp_path, monkeypatch):
    opened = []

    def load(config, _):
        opened.append(config.seed)
        return corpus_with_pictures(0), corpus_with_pictures(1)

    monkeypatch.setattr(workshop, "load_corpora", load)
    out = tmp_path / "out"
    shop = Workshop(out)
    whole = make_run(representation, "fixed", num_tokens=1500, seed=3)
    words = MixtureConfig(image_text=0.0, video=0.0, action=0.0)
    unimodal = make_run(representation, "centred", num_tokens=900, seed=3, mixture=words)
    for run in (whole, unimodal):
        shop.make_row(run)
    assert opened == [0]  # once, and split by a seed that is none of the runs'
    row, text_row = (read_rows(row_path(out, run))[0] for run in (whole, unimodal))
    assert sum(row.tokens.values()) == pytest.approx(1500, rel=0.35)
    assert {"bits_per_byte", "nats/caption", "flow/all/video", "flow/draft/forward", "image/psnr_db"} < set(
        row.measure
    )
    assert set(text_row.tokens) == {"text"} and set(text_row.measure) == {"bits_per_byte", "nats/text"}
    assert (row.data, row.heldout) == (text_row.data, text_row.heldout) and row.data != row.heldout
    # A token is at least a byte and few are more than five: so many bits a byte is one nat a token.
    assert 0.2 < row.measure["bits_per_byte"] / row.measure["nats/text"] < 1.6
    assert not list((out / "runs").glob("*/model")) and not list((out / "runs").glob("*/steps"))
    before = row_path(out, whole).read_bytes()
    shop.make_row(whole)
    assert row_path(out, whole).read_bytes() == before
    with pytest.raises(ValueError, match="is of other settings"):
        ablate._has_row(out, dataclasses.replace(whole, config_hash="other"))
    assert ablate._has_row(out, whole)
    publish(out, tmp_path)


def publish(out: Path, tmp_path: Path) -> None:
    """Make the page from rows alone."""
    rows = [path for path in (out / "rows").iterdir() if "fixed" in path.name]
    node = composed(
        "worldmodel/conf/ablate.yaml",
        ["table=weighing", f"rows='{rows[0]}'", f"publish='{tmp_path / 'docs'}'"],
    )
    ablate.run(to_object(node, AblateConfig))
    made = {path.name for path in (tmp_path / "docs" / "ablations").iterdir()}
    assert made == {"weighing.md", "weighing.png", "weighing.parquet"}
    assert "| fixed |" in (tmp_path / "docs" / "ablations" / "weighing.md").read_text()
    wrong = composed(
        "worldmodel/conf/ablate.yaml", ["table=synergy", f"rows='{rows[0]}'", f"publish='{tmp_path}'"]
    )
    with pytest.raises(ValueError, match="needed rows of the table synergy"):
        ablate.run(to_object(wrong, AblateConfig))


def test_a_failed_run_is_told_and_does_not_stop_the_next(tmp_path):
    runs = [make_run(tmp_path / "nowhere", arm, num_tokens=100) for arm in ("one", "two")]
    finished = list(make_rows(runs, tmp_path, num_workers=1, keep_models=False))
    assert [each.run for each in finished] == runs
    for each in finished:
        assert each.error is not None and "FileNotFoundError" in each.error and "nowhere" in each.error
    assert (tmp_path / "worker-0.log").read_text().count("Traceback") == 2


def test_bad_commands_are_refused():
    with pytest.raises(ValueError, match="add publish=docs"):
        AblateConfig(rows="rows.parquet")
    with pytest.raises(ValueError, match="seeds that differ"):
        AblateConfig(seeds=[1, 1])
    with pytest.raises(ValueError, match="needed data=FOLDER"):
        ablate.run(AblateConfig(num_tokens=10))
