"""The prediction command: shards, what goes on when images are broken, what is written."""

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_tools.trajectory import read_trajectories, write_trajectory
from planners.evaluation import prediction
from planners.evaluation.faithfulness import FaithfulnessRow, FaithfulnessShape
from planners.evaluation.frame_metrics import Opened
from planners.evaluation.prediction import Evaluated, PredictionConfig, run_prediction, write_results
from planners.evaluation.prediction_measures import PredictionShape
from planners.evaluation.prediction_rows import PredictionRow
from planners.evaluation.prediction_windows import Kind
from planners.evaluation.records import from_table
from tests.planners.evaluation.colour_world import ColourModel, drive

MISSING_LPIPS = "lpips is not installed: pip install 'worldnav[perceptual]'"


@pytest.fixture
def config(tmp_path: Path) -> PredictionConfig:
    for number in range(3):
        trajectory = drive((0.1, 0.02 * number, 0.05), num_frames=14 - number, name=f"drive{number}")
        write_trajectory(trajectory, tmp_path / "data")
    return PredictionConfig(
        checkpoint="colours",
        data=str(tmp_path / "data"),
        out=str(tmp_path / "out"),
        num_time=3,
        num_rollout=2,
        num_faithfulness=4,
        windows_per_shard=2,
        num_shown=1,
        shape=PredictionShape(horizons_s=[0.5, 2.0], rates_hz=[2.0], num_context=2, num_steps=1, size_px=16),
        faithfulness=FaithfulnessShape(horizons_s=[0.5]),
        workers=0,
    )


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ColourModel]:
    found = ColourModel()
    monkeypatch.setattr(prediction, "cached_model", lambda name: found)
    monkeypatch.setattr(prediction, "checkpoint_hash", lambda name: "d" * 64)
    monkeypatch.setattr(prediction, "open_perceptual", lambda wanted: Opened({}, {"lpips": MISSING_LPIPS}))
    clear_caches()
    yield found
    clear_caches()


def clear_caches() -> None:
    prediction._instruments.cache_clear()
    prediction._perceptual.cache_clear()


def run(config: PredictionConfig) -> Evaluated:
    return run_prediction(config, read_trajectories(Path(config.data)).trajectories)


def windows(rows: list[PredictionRow] | list[FaithfulnessRow]) -> list[str]:
    return list(dict.fromkeys(row.window for row in rows))


def test_a_run_gives_all_kinds_and_a_second_one_computes_nothing(config, model):
    found = run(config)
    asked = windows(found.prediction)
    assert [name.split("/")[0] for name in asked] == ["time"] * 4 + ["rollout"] * 2  # whole shards
    assert len(found.prediction) == (4 + 2) * 2 * 4 and len(found.faithfulness) == 4
    assert {row.status for row in (*found.prediction, *found.faithfulness)} == {"measured"}
    assert [row.window for row in found.prediction if row.picture][::8] == [asked[0], asked[4]]
    num_told = len(model.told)
    again = run(config)
    assert again.prediction == found.prediction and again.faithfulness == found.faithfulness
    assert len(model.told) == num_told


def test_more_windows_leave_the_first_as_they_are(config, model):
    few = run(config)
    num_told = len(model.told)
    many = run(replace(config, num_time=6, kinds=[Kind.time]))
    assert many.prediction[: 4 * 8] == few.prediction[: 4 * 8] and len(windows(many.prediction)) == 6
    assert len(model.told) == num_told + 2, "one shard more"
    assert many.faithfulness == []


def test_a_worker_gives_the_rows_that_this_process_gives(config, model):
    """What Ray does to a task: it is copied, and its copy's rows are the same."""
    trajectories = read_trajectories(Path(config.data)).trajectories
    provenance = prediction.make_provenance(config, trajectories)
    tasks = prediction.make_tasks(config, Kind.rollout, trajectories, provenance)
    assert list(tasks) == ["rollout-0"]
    copied = pickle.loads(pickle.dumps(tasks["rollout-0"]))
    assert prediction.evaluate_shard(copied) == prediction.evaluate_shard(tasks["rollout-0"])


def test_rows_hang_on_settings_recordings_and_the_metrics_at_hand(config, model, monkeypatch):
    trajectories = read_trajectories(Path(config.data)).trajectories

    def hash_of(changed: PredictionConfig, count: int = 3) -> str:
        return prediction.make_provenance(changed, trajectories[:count]).config_hash

    base = hash_of(config)
    assert hash_of(replace(config, out="x", workers=3, num_time=50, kinds=[Kind.time])) == base
    assert hash_of(replace(config, seed=1)) != base
    assert hash_of(config, count=2) != base
    monkeypatch.setattr(
        prediction, "open_perceptual", lambda wanted: Opened({"lpips": lambda made, true: made}, {})
    )
    clear_caches()
    assert hash_of(config) != base


def test_a_broken_image_is_named_and_the_run_goes_on(config, model):
    for frame in range(0, 14):
        (Path(config.data) / "drive0" / f"{frame}.jpg").write_bytes(b"no image")
    found = run(config)
    failed = [row for row in found.prediction if row.status == "failed"]
    assert {row.trajectory for row in failed} == {"drive0"}
    assert {row.status for row in found.prediction if row.trajectory != "drive0"} == {"measured"}
    assert all(row.error and "drive0/" in row.error and "not a readable JPEG" in row.error for row in failed)
    assert any(row.status == "failed" for row in found.faithfulness)


def test_results_are_written_and_what_is_not_measured_is_named_once(config, model, tmp_path):
    (Path(config.data) / "stray").mkdir()
    found = run(config)
    report = read_trajectories(Path(config.data))
    text = write_results(config, found, report, seconds=1.5)
    out = Path(config.out)
    assert from_table(pq.read_table(out / "prediction.parquet"), PredictionRow) == found.prediction
    assert from_table(pq.read_table(out / "faithfulness.parquet"), FaithfulnessRow) == found.faithfulness
    assert (out / "prediction.md").read_text() == text
    assert text.count("not measured: lpips: lpips is not installed") == 1
    assert text.count("not measured: fid:") == text.count("not measured: fvd:") == 1
    assert "skipped stray:" in text and "### faithfulness: 0.5 s" in text
    assert (out / "prediction.csv").read_text().count("frechet_latents") == 2 * 2 * 3
    with Image.open(out / "contact_sheet.png") as sheet:
        assert np.asarray(sheet).ndim == 3
    made = json.loads((out / "prediction.json").read_text())
    assert made["config"]["seed"] == config.seed and made["skipped"].keys() == {"stray"}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_time": 0}, "leave a kind out with"),
        ({"kinds": []}, "one kind at least"),
        ({"kinds": [Kind.time, Kind.time]}, "each once"),
        ({"workers": -1}, "at least 0"),
    ],
)
def test_what_measures_nothing_is_refused(config, changes, match):
    with pytest.raises(ValueError, match=match):
        replace(config, **changes)
