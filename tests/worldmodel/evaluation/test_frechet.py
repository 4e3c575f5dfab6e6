"""Frechet distance against closed forms, scipy, and what a distance must obey."""

import numpy as np
import pytest
import scipy.linalg

from worldmodel.evaluation.frechet import Gaussian, frechet_distance


def random_gaussian(seed: int, size: int = 5) -> Gaussian:
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((size, size + 2))
    return Gaussian(rng.standard_normal(size), factor @ factor.T)


def test_of_two_lines_it_is_that_of_means_and_deviations():
    one = Gaussian(np.array([1.0]), np.array([[4.0]]))
    other = Gaussian(np.array([4.0]), np.array([[0.25]]))
    assert frechet_distance(one, other) == pytest.approx(3**2 + (2 - 0.5) ** 2)


def test_of_axes_that_do_not_mix_it_is_the_sum_over_axes():
    one = Gaussian(np.array([0.0, 1.0, 2.0]), np.diag([1.0, 4.0, 9.0]))
    other = Gaussian(np.array([0.0, 0.0, 0.0]), np.diag([4.0, 4.0, 1.0]))
    assert frechet_distance(one, other) == pytest.approx(1 + 4 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2)


def test_it_is_what_the_square_root_of_scipy_gives():
    one, other = random_gaussian(0), random_gaussian(1)
    root = np.real(scipy.linalg.sqrtm(one.covariance @ other.covariance))
    expected = np.square(one.mean - other.mean).sum() + np.trace(one.covariance + other.covariance - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-9)


def test_a_gaussian_has_no_distance_from_itself_even_if_it_is_flat():
    flat = Gaussian.of(np.random.default_rng(0).standard_normal((3, 7)))
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-6)


def test_mean_and_covariance_are_those_of_the_samples():
    features = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
    found = Gaussian.of(features)
    np.testing.assert_allclose(found.mean, [2, 2])
    np.testing.assert_allclose(found.covariance, [[4, 3], [3, 3]])


def test_one_picture_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        Gaussian.of(np.zeros((1, 3)))


def test_features_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="5 and 3"):
        frechet_distance(random_gaussian(0), random_gaussian(0, size=3))
