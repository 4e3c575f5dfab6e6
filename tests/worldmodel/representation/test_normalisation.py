import pytest
import torch

from tests.worldmodel.representation.synthetic import make_frames
from worldmodel.representation.normalisation import Normalisation, measure_normalisation


def first_pixels(frames: torch.Tensor) -> torch.Tensor:
    """Features: three tokens of two levels."""
    return frames[:, 0, :3, :2].float()


def batches(*, uneven: bool) -> list[torch.Tensor]:
    frames = make_frames(70, seed=1, height=3, width=5)
    return list(frames.split([1, 40, 29])) if uneven else [frames]


@pytest.mark.parametrize("uneven", [True, False])
def test_it_is_mean_and_deviation_however_frames_are_cut_into_batches(uneven):
    measured = measure_normalisation(first_pixels, batches(uneven=uneven), variance_only=False)
    features = first_pixels(torch.cat(batches(uneven=False)))
    torch.testing.assert_close(measured.mean, features.mean(dim=0))
    torch.testing.assert_close(measured.std, features.std(dim=0))
    latents = measured.apply(features)
    torch.testing.assert_close(latents.std(dim=0), torch.ones(3, 2))
    torch.testing.assert_close(measured.undo(latents), features)


def test_variance_only_leaves_means_and_divides_by_the_deviation_about_them():
    features = first_pixels(torch.cat(batches(uneven=False)))
    measured = measure_normalisation(first_pixels, batches(uneven=True), variance_only=True)
    torch.testing.assert_close(measured.apply(features), features / features.std(dim=0))


def test_a_channel_that_never_varies_is_not_blown_up():
    frames = torch.cat(batches(uneven=False))
    frames[:, 0, 1, 0] = 9
    measured = measure_normalisation(first_pixels, [frames], variance_only=False)
    other = first_pixels(make_frames(5, seed=2, height=3, width=5))
    assert measured.apply(other).abs().max() < 10
    assert torch.equal(measured.apply(first_pixels(frames))[:, 1, 0], torch.zeros(70))


def test_too_few_or_equal_frames_are_refused():
    with pytest.raises(ValueError, match="at least two frames to measure deviations, got 1"):
        measure_normalisation(first_pixels, [batches(uneven=True)[0]], variance_only=False)
    with pytest.raises(ValueError, match="needed frames that differ"):
        measure_normalisation(
            first_pixels, [torch.full((4, 3, 5, 3), 7, dtype=torch.uint8)], variance_only=False
        )


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_deviations_that_cannot_be_divided_by_are_refused(std):
    with pytest.raises(ValueError, match="positive deviations"):
        Normalisation(torch.zeros(2, 3), torch.full((2, 3), std))
