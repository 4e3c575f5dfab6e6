"""Statistics as LeRobot normalises by them: exact, in its shapes."""

import json

import numpy as np
import pytest

from data_tools.formats.lerobot_statistics import QUANTILES, PixelCounts, describe_numbers


def test_statistics_of_five_numbers():
    described = describe_numbers(np.array([[4, -1], [0, -1], [1, -1], [2, -1], [3, -1]])).to_json()
    assert described == {
        "min": [0, -1],
        "max": [4, -1],
        "mean": [2.0, -1.0],
        "std": [2**0.5, 0.0],
        "q01": [0.04, -1.0],
        "q10": [0.4, -1.0],
        "q50": [2.0, -1.0],
        "q90": [3.6, -1.0],
        "q99": [3.96, -1.0],
        "count": [5],
    }
    assert json.dumps(described)


def test_pixels_are_described_as_all_of_them_at_once():
    images = np.random.default_rng(0).integers(20, 230, size=(2, 5, 7, 3), dtype=np.uint8)
    images[..., 2] = 9
    counts = PixelCounts()
    for image in images:
        counts.add(image)
    described = counts.describe()
    values = images.reshape(-1, 3) / 255
    for name, expected in (("min", values.min(0)), ("max", values.max(0)), ("mean", values.mean(0))):
        np.testing.assert_allclose(getattr(described, name), expected.reshape(3, 1, 1), rtol=1e-12)
    np.testing.assert_allclose(described.std, values.std(0).reshape(3, 1, 1), rtol=1e-12, atol=1e-12)
    for name, share in QUANTILES.items():
        expected = np.quantile(values, share, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(described.quantiles[name], expected.reshape(3, 1, 1), rtol=1e-12)
    assert described.count == 2


def test_counts_add_up():
    images = np.random.default_rng(1).integers(256, size=(5, 2, 3, 3), dtype=np.uint8)
    whole, first, second = PixelCounts(), PixelCounts(), PixelCounts()
    for index, image in enumerate(images):
        whole.add(image)
        (first if index < 2 else second).add(image)
    first.add_all(second)
    assert first.describe().to_json() == whole.describe().to_json()


def test_nothing_has_no_statistics():
    with pytest.raises(ValueError, match="at least one row"):
        describe_numbers(np.zeros((0, 3)))
