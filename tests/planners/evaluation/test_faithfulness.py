"""Faithfulness: motions are read back exactly where the model is exact, and rows tell where it is not."""

from collections.abc import Sequence

import numpy as np
import pytest

from planners.evaluation.faithfulness import (
    FaithfulnessRow,
    FaithfulnessShape,
    measure_faithfulness,
    reach_of,
    recover_motions,
)
from planners.evaluation.prediction_measures import PredictionShape, Question
from planners.evaluation.prediction_windows import Kind, Window
from tests.planners.evaluation.colour_world import ColourModel, drive
from tests.planners.evaluation.prediction_rows import given
from tests.planners.evaluation.rows import PROVENANCE

SHAPE = FaithfulnessShape(horizons_s=[0.5, 1.0])
REACHES = {0.5: (0.5, 0.3, 0.6), 1.0: (1.0, 0.6, 1.2)}
LEVEL = 1 / 40


def measure(model: ColourModel, *, frame: int = 3, **settings) -> list[FaithfulnessRow]:
    window = Window(kind=Kind.faithfulness, trajectory=drive(**settings), frame=frame)
    asked = Question(
        window=window, shape=PredictionShape(num_context=2, num_steps=1), seed=1, provenance=PROVENANCE
    )
    return measure_faithfulness(asked, SHAPE, REACHES, model)


def recover(motions: Sequence[Sequence[float]], *, still: float = 0.0) -> np.ndarray:
    context = [np.array(each) for each in motions]
    return recover_motions(ColourModel(still=still), context, num_problems=len(context), reach=REACHES[1.0])


def test_a_motion_is_found_wherever_in_the_box_it_is():
    motions = [(0.83, -0.41, 0.97), (-0.2, 0.004, -1.13), (0.0, 0.0, 0.0), (0.9, 0.1, -0.005)]
    assert recover(motions) == pytest.approx(np.array(motions), abs=0.006)


def test_what_is_outside_the_box_is_read_as_its_edge():
    assert recover([(1.05, 0.0, 0.0)])[0, 0] == pytest.approx(0.99, abs=0.0101)


def test_a_number_that_is_the_likeliest_by_itself_does_not_hide_a_motion():
    """Robots that stand have 0.000 exactly: 30% here, where the best thousandth of the motion has 1%."""
    assert recover([(0.5, 0.3, 0.6)], still=0.3)[0] == pytest.approx([0.5, 0.3, 0.6], abs=0.03)
    assert recover([(0.5, 0.3, 0.6)], still=0.6)[0] == pytest.approx([0.0, 0.0, 0.0], abs=0.01)


def test_a_faithful_model_shows_the_command_and_its_mirror():
    for row in measure(ColourModel()):
        command = np.array(row.commanded)
        assert command[2] == pytest.approx(0.2 if row.horizon_s == 0.5 else 0.4, abs=1e-3)
        for read in (row.from_true, row.from_reconstruction, row.from_imagined):
            assert read == pytest.approx(command, abs=1.5 * LEVEL)
        assert row.from_mirrored == pytest.approx(command * np.array([1, -1, -1]), abs=1.5 * LEVEL)
        assert given(row.distance) < 1.5 and given(row.mirrored_distance) > 50
        assert row.elapsed_s == row.horizon_s


def test_a_model_that_turns_the_other_way_is_found_out():
    (_, row) = measure(ColourModel(heed=-1.0))
    assert row.from_true[2] == pytest.approx(row.commanded[2], abs=1.5 * LEVEL)
    assert row.from_imagined[2] == pytest.approx(-row.commanded[2], abs=1.5 * LEVEL)
    assert given(row.distance) > given(row.mirrored_distance)


def test_command_and_mirror_are_imagined_from_one_noise():
    noisy = ColourModel(noise=3.0, heed=0.0)
    rows = measure(noisy)
    assert all(row.distance == row.mirrored_distance for row in rows), "nothing but noise could differ"
    assert noisy.told[0][1] == [noisy.told[0][0][0].replace("dyaw=+", "dyaw=-").replace("dy=+", "dy=-")]


def test_what_cannot_be_measured_says_why():
    short = measure(ColourModel(), frame=13)
    assert [row.status for row in short] == ["measured", "too_short"] and short[1].from_true == ()
    broken = measure(ColourModel(), broken=[7])
    assert [row.status for row in broken] == ["measured", "failed"]
    assert broken[1].error == "7.jpg is not a readable JPEG or PNG"


def test_the_box_follows_the_data():
    slow, fast = drive((0.1, 0.0, 0.0), name="slow"), drive((0.4, 0.0, -0.02), name="fast")
    assert reach_of([slow], 1.0) == pytest.approx((0.5, 0.05, 0.05))
    ahead, left, turn = reach_of([slow, fast], 1.0)
    assert ahead > 1.9 and left > 0.05 and turn == pytest.approx(1.25 * 0.08)
    with pytest.raises(ValueError, match=r"no recording with poses is 60.0 s long"):
        reach_of([slow], 60.0)


@pytest.mark.parametrize("horizons_s", [[], [0.0], [1.0, 1.0]])
def test_what_commands_nothing_is_refused(horizons_s):
    with pytest.raises(ValueError, match=r"positive faithfulness\.horizons_s that differ"):
        FaithfulnessShape(horizons_s=horizons_s)
