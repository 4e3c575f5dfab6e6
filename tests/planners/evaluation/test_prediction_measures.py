"""Prediction measures: what the model is told, what each method's frame is, and what is not measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from planners.evaluation.frame_metrics import EQUAL_PSNR_DB
from planners.evaluation.prediction_measures import Instruments, PredictionShape, Question, measure_window
from planners.evaluation.prediction_rows import Method, PredictionRow
from planners.evaluation.prediction_windows import Kind, Window
from planners.evaluation.videos import decode_png
from tests.planners.evaluation.colour_world import ColourModel, drive
from tests.planners.evaluation.prediction_rows import given
from tests.planners.evaluation.rows import PROVENANCE

SHAPE = PredictionShape(
    horizons_s=[0.5, 1.0, 2.0], rates_hz=[2.0, 4.0], num_context=3, num_steps=2, size_px=16
)


def question(kind: Kind = Kind.time, *, frame: int = 4, **settings) -> Question:
    trajectory = drive(**settings)
    window = Window(kind=kind, trajectory=trajectory, frame=frame)
    return Question(window=window, shape=SHAPE, seed=3, provenance=PROVENANCE)


def measure(asked: Question, model: ColourModel, **metrics) -> list[PredictionRow]:
    return measure_window(asked, Instruments(world_model=model, perceptual=metrics))


def of(rows: list[PredictionRow], method: Method, horizon_s: float) -> PredictionRow:
    (found,) = [row for row in rows if row.method == method.name and row.horizon_s == horizon_s]
    return found


def test_a_perfect_model_is_as_good_as_a_reconstruction_and_a_copy_is_not():
    rows = measure(question(), ColourModel())
    assert len(rows) == 3 * len(Method) and {row.status for row in rows} == {"measured"}
    for horizon_s in SHAPE.horizons_s:
        made, copied, rebuilt = (
            of(rows, each, horizon_s)
            for each in (Method.world_model, Method.copy_last, Method.reconstruction)
        )
        assert rebuilt.psnr_db == pytest.approx(EQUAL_PSNR_DB) and rebuilt.latent_squared == 0
        assert given(made.psnr_db) > 45 and given(made.latent_squared) < 1.5 and given(made.ssim) > 0.99
        assert given(copied.psnr_db) < 36 and given(copied.latent_squared) > 4 * given(made.latent_squared)
    assert of(rows, Method.truth, 1.0).psnr_db is None


def test_a_copy_gets_worse_with_time_by_exactly_the_colour_that_changed():
    rows = measure(question(motion=(0.1, 0.0, 0.0)), ColourModel())  # 4 levels of red a frame
    for horizon_s, steps in ((0.5, 2), (1.0, 4), (2.0, 8)):
        copied = of(rows, Method.copy_last, horizon_s)
        squared = (4 * steps) ** 2 / 3
        assert copied.latent_squared == pytest.approx(squared)
        assert copied.psnr_db == pytest.approx(10 * np.log10(255**2 / squared), abs=1e-3)
        assert (copied.num_steps, copied.elapsed_s) == (1, steps * 0.25)


def test_jumps_are_told_at_once_and_rollouts_step_by_step():
    model = ColourModel()
    measure(question(motion=(0.1, 0.0, 0.0)), model)
    assert model.told == [
        [
            ["action: dx=+0.200, dy=+0.000, dyaw=+0.000, dt=0.50"],
            ["action: dx=+0.400, dy=+0.000, dyaw=+0.000, dt=1.00"],
            ["action: dx=+0.800, dy=+0.000, dyaw=+0.000, dt=2.00"],
        ]
    ]
    model = ColourModel()
    rows = measure(question(Kind.rollout, motion=(0.1, 0.0, 0.0)), model)
    assert model.told == [
        [["action: dx=+0.200, dy=+0.000, dyaw=+0.000, dt=0.50"] * 4],
        [["action: dx=+0.100, dy=+0.000, dyaw=+0.000, dt=0.25"] * 8],
    ]
    made = [row for row in rows if row.method == "world_model"]
    assert [(row.rate_hz, row.num_steps) for row in made] == [(2, 1), (2, 2), (2, 4), (4, 2), (4, 4), (4, 8)]
    assert made[4].actions == tuple(model.told[1][0][:4])
    assert all(given(row.psnr_db) > 45 for row in made)


def test_the_noise_of_a_window_is_its_own_whoever_else_is_asked():
    model = ColourModel(noise=9.0)
    first, again, other = (measure(question(frame=frame), model) for frame in (4, 4, 5))
    assert first == again
    off = [given(of(rows, Method.world_model, 1.0).latent_squared) for rows in (first, other)]
    assert off[0] != pytest.approx(off[1]) and min(off) > 1


def test_a_recording_that_ends_is_counted_at_the_horizons_it_lacks():
    rows = measure(question(frame=11), ColourModel())
    assert {(row.horizon_s, row.status) for row in rows} == {
        (0.5, "measured"),
        (1.0, "measured"),
        (2.0, "too_short"),
    }
    assert of(rows, Method.copy_last, 2.0).error == "drive has no frame there"


def test_an_image_that_does_not_decode_is_named_and_the_rest_is_measured():
    rows = measure(question(broken=[8]), ColourModel())
    failed = [row for row in rows if row.status == "failed"]
    assert {row.horizon_s for row in failed} == {1.0} and len(failed) == len(Method)
    assert failed[0].error == "8.jpg is not a readable JPEG or PNG" and failed[0].psnr_db is None
    assert given(of(rows, Method.world_model, 2.0).psnr_db) > 45
    blind = measure(question(broken=[2]), ColourModel())
    assert {(row.status, row.error) for row in blind} == {("failed", "2.jpg is not a readable JPEG or PNG")}


def test_perceptual_metrics_compare_squares_and_pictures_are_kept_where_asked():
    def red(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        assert made.shape == true.shape == (3, 16, 16, 3)
        return (made[:, 0, 0, 0].float() - true[:, 0, 0, 0].float()).abs()

    asked = replace(question(motion=(0.1, 0.0, 0.0)), keeps_pictures=True)
    rows = measure(asked, ColourModel(), lpips=red)
    assert of(rows, Method.copy_last, 1.0).lpips == 16 and of(rows, Method.copy_last, 1.0).dreamsim is None
    picture = of(rows, Method.copy_last, 1.0).picture
    assert picture is not None and decode_png(picture)[3, 5].tolist() == [128 + 16, 128, 128]
    features = of(rows, Method.truth, 1.0).features
    assert features is not None and np.frombuffer(features, np.float32).tolist() == [128 + 32, 128, 128]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"horizons_s": []}, "one horizon at least"),
        ({"rates_hz": [0.0]}, "must be positive"),
        ({"horizons_s": [1.0, 1.0]}, "must differ"),
        ({"horizons_s": [1.0], "rates_hz": [1.5]}, "1.0 s is no whole number of steps at 1.5"),
        ({"size_px": 8}, "size_px at least 16"),
    ],
)
def test_what_cannot_be_imagined_is_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        replace(SHAPE, **changes)
