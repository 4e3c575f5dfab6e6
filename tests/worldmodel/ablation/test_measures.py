"""How much is measured: sizes that measure nothing are refused."""

import pytest

from worldmodel.ablation.measures import MeasureConfig


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"num_problems": 1}, "num_problems of at least 2"),
        ({"horizons": []}, "horizons, at least one"),
        ({"horizons": [4, 0]}, "'horizons': 0"),
        ({"num_texts": 0, "num_context": 0}, "'num_texts': 0, 'num_context': 0"),
        ({"num_documents": 0}, "'num_documents': 0"),
        ({"num_steps": 0, "image_size": 0}, "'num_steps': 0, 'image_size': 0"),
    ],
)
def test_sizes_that_measure_nothing_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        MeasureConfig(**settings)
