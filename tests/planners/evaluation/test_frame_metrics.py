"""Frame metrics: exact values, slow references, and what networks are fed."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from planners.evaluation.frame_metrics import (
    EQUAL_PSNR_DB,
    Perceptual,
    dreamsim_by,
    latent_cosine,
    latent_squared,
    lpips_by,
    open_perceptual,
    psnr_db,
    ssim,
    to_square,
)


def frames(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8))


def test_psnr_by_hand_and_of_equal_frames():
    black = torch.zeros(3, 2, 5, 3, dtype=torch.uint8)
    made = black.clone()
    made[0] = 255  # squared error 1: 0 dB
    made[1, 0, 0, 0] = 51  # (1/5)^2 in one of 30 numbers
    found = psnr_db(made, black)
    expected = [0.0, 10 * math.log10(30 * 25), 10 * math.log10(12 * 255**2)]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    assert pytest.approx(58.92, abs=0.01) == EQUAL_PSNR_DB


def slow_ssim(made: np.ndarray, true: np.ndarray) -> float:
    """Wang et al. 2004, one window after the other, about each pixel, borders mirrored."""
    made, true = (np.pad(each, ((5, 5), (5, 5), (0, 0)), mode="reflect") for each in (made, true))
    offsets = np.arange(11) - 5
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    found = []
    for colour in range(3):
        x, y = made[..., colour] / 255, true[..., colour] / 255
        for row in range(x.shape[0] - 10):
            for column in range(x.shape[1] - 10):
                a, b = (each[row : row + 11, column : column + 11] for each in (x, y))
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * a * a).sum() - mean_a**2, (window * b * b).sum() - mean_b**2
                cov = (window * a * b).sum() - mean_a * mean_b
                light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
                found.append(light * (2 * cov + 0.03**2) / (var_a + var_b + 0.03**2))
    return float(np.mean(found))


def test_ssim_agrees_with_a_slow_one_and_is_one_for_equal_frames():
    true = frames(2, 17, 23)
    made = true.clone()
    made[0] = (true[0].float() * 0.6 + frames(17, 23, seed=1).float() * 0.4).to(torch.uint8)
    found = ssim(made, true)
    assert found[1].item() == pytest.approx(1, abs=1e-5)
    assert found[0].item() == pytest.approx(slow_ssim(made[0].numpy(), true[0].numpy()), abs=1e-3)
    assert ssim(made[:1], true[:1]).shape == (1,)


def test_latent_distances_by_hand():
    made = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]])
    true = torch.tensor([[[0.0, 3.0], [0.0, 5.0], [-1.0, -1.0]]])
    assert latent_squared(made, true).tolist() == pytest.approx([(1 + 9 + 0 + 9 + 4 + 4) / 6])
    assert latent_cosine(made, true).tolist() == pytest.approx([(1 + 0 + 2) / 3])


def test_squares_keep_their_edges_and_their_colours():
    wide = torch.zeros(1, 4, 8, 3, dtype=torch.uint8)
    wide[:, :, :4, 0], wide[:, :, 4:, 2] = 200, 100  # left red, right blue
    square = to_square(wide, size_px=4)
    assert square[0, 0, 0].tolist() == [200, 0, 0] and square[0, 3, 3].tolist() == [0, 0, 100]
    assert to_square(square, size_px=4) is square


def test_lpips_is_fed_from_minus_one_to_one_rgb_first():
    fed = []

    def network(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        fed.extend((made, true))
        return (made - true).abs().mean(dim=(1, 2, 3), keepdim=True)

    made = torch.zeros(2, 5, 7, 3, dtype=torch.uint8)
    made[..., 1] = 255
    found = lpips_by(network)(made, torch.zeros_like(made))
    assert fed[0].shape == (2, 3, 5, 7)
    assert [fed[0][0, colour].unique().tolist() for colour in range(3)] == [[-1], [1], [-1]]
    assert found.tolist() == pytest.approx([2 / 3, 2 / 3])


def test_dreamsim_sees_frames_through_its_own_preprocessing():
    seen = []

    def preprocess(image: Image.Image) -> torch.Tensor:
        seen.append(image)
        pixels = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255

    def network(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        assert made.shape == true.shape == (2, 3, 224, 224)
        assert 0 <= made.min() and made.max() <= 1
        return made[:, 0].mean(dim=(1, 2)) - true[:, 2].mean(dim=(1, 2))

    made = torch.zeros(2, 5, 7, 3, dtype=torch.uint8)
    made[1, ..., 0] = 255
    found = dreamsim_by(network, preprocess)(made, torch.zeros_like(made))
    assert found.tolist() == pytest.approx([0, 1])
    assert [(image.mode, image.size) for image in seen] == [("RGB", (7, 5))] * 4


def test_absent_packages_are_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.setitem(sys.modules, "dreamsim", None)
    opened = open_perceptual(list(Perceptual))
    assert opened.metrics == {} and list(opened.missing) == ["lpips", "dreamsim"]
    assert all("pip install 'worldnav[perceptual]'" in reason for reason in opened.missing.values())


def test_absent_weights_are_named_and_the_rest_is_measured(monkeypatch):
    class Network(torch.nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            self.net = net

        def forward(self, made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
            return (made - true).mean(dim=(1, 2, 3))

    def no_network(pretrained: bool, device: str, cache_dir: str) -> None:
        raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "lpips", SimpleNamespace(LPIPS=Network))
    monkeypatch.setitem(sys.modules, "dreamsim", SimpleNamespace(dreamsim=no_network))
    opened = open_perceptual(list(Perceptual))
    assert list(opened.metrics) == ["lpips"]
    assert "weights of dreamsim could not be had (OSError: no route to host)" in opened.missing["dreamsim"]
