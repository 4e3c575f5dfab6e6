from collections.abc import Iterator

import pytest
import torch

from worldmodel.representation.ridge import RIDGES, Batches, fit, fit_and_score


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batches_of(features: torch.Tensor, targets: torch.Tensor) -> Batches:
    return lambda: zip(features.split(17), targets.split(17), strict=True)


def test_a_linear_map_is_read_exactly_and_noise_not_at_all():
    features, weight = normal(900, 5, seed=0), normal(5, 3, seed=2)
    targets, noise = features @ weight + 2, normal(900, 3, seed=3)
    spans = (slice(0, 500), slice(500, 700), slice(700, 900))
    exact = fit_and_score(*(batches_of(features[span], targets[span]) for span in spans))
    assert exact.mean_r2 > 0.999 and max(exact.rmse) < 0.05 and exact.ridge == RIDGES[0]
    blind = fit_and_score(*(batches_of(features[span], noise[span]) for span in spans))
    assert abs(blind.mean_r2) < 0.05


def test_it_agrees_with_the_closed_form():
    features, targets = normal(53, 4, seed=1) * 3 + 5, normal(53, 2, seed=2) - 4
    centred = (features - features.mean(dim=0)) / features.std(dim=0, correction=0)
    for ridge, read in zip(RIDGES, fit(batches_of(features, targets)), strict=True):
        weight = torch.linalg.solve(
            centred.T @ centred + 53 * ridge * torch.eye(4), centred.T @ (targets - targets.mean(dim=0))
        )
        expected = centred @ weight + targets.mean(dim=0)
        torch.testing.assert_close(read(features), expected, rtol=1e-3, atol=1e-4)


def test_targets_that_never_change_and_missing_samples_are_refused():
    features = normal(60, 2, seed=4)
    good = batches_of(features, features)
    still = batches_of(features, torch.cat([features[:, :1], torch.full((60, 1), 0.1)], dim=1))
    for parts in ((still, still, still), (good, good, still)):
        with pytest.raises(ValueError, match="one that never changes"):
            fit_and_score(*parts)
    empty = batches_of(features[:0], features[:0])
    with pytest.raises(ValueError, match="samples to fit"):
        fit_and_score(empty, good, good)

    def none() -> Iterator:
        return iter(())

    for parts in ((good, none, good), (good, good, none), (good, good, empty)):
        with pytest.raises(ValueError, match="samples to measure"):
            fit_and_score(*parts)


def test_a_feature_that_never_changes_does_no_harm():
    features = torch.cat([normal(60, 2, seed=4), torch.ones(60, 1)], dim=1)
    read = fit(batches_of(features, features[:, :1]))[0]
    torch.testing.assert_close(read(features), features[:, :1], atol=0.01, rtol=0.01)
