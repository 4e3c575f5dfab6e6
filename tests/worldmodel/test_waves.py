"""Laws of numbers as waves."""

import math

import torch

from worldmodel.waves import fourier_features, sinusoids


def test_times_by_hand():
    found = sinusoids(torch.tensor([[0.0, 0.003]]), width=4)  # frequencies 1 and 1e-2
    expected = [[1.0, 1.0, 0.0, 0.0], [math.cos(3.0), math.cos(0.03), math.sin(3.0), math.sin(0.03)]]
    torch.testing.assert_close(found[0], torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_values_by_hand():
    found = fourier_features(torch.tensor([16.0]), num_frequencies=3)  # wavelengths 128, 64 and 32
    angles = torch.tensor([math.pi / 4, math.pi / 2, math.pi])
    expected = torch.cat((angles.cos(), angles.sin()))
    torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=1e-6)
