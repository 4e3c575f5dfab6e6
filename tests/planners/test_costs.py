import pytest
import torch

from planners.costs import Distance, latent_cost, pixel_cost


def _frames(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*shape, 3), generator=generator, dtype=torch.uint8)


def test_pixel_cost_by_hand():
    # All black against all white differs by 1 at every scale.
    black = torch.zeros(120, 160, 3, dtype=torch.uint8)
    assert pixel_cost(black, torch.full_like(black, 255)).item() == pytest.approx(1.0)
    # A 64 x 64 checkerboard against its negative: 1 at full size, 0 once pooled.
    board = (
        ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255)[..., None]
        .expand(64, 64, 3)
        .to(torch.uint8)
    )
    assert pixel_cost(board, 255 - board).item() == pytest.approx(1 / 3)


def test_pixel_cost_is_a_symmetric_distance():
    ours, goal = _frames(2, 5, 24, 32), _frames(2, 5, 24, 32, seed=1)
    torch.testing.assert_close(pixel_cost(ours, goal), pixel_cost(goal, ours))
    assert (pixel_cost(ours, ours) == 0).all()
    assert pixel_cost(ours, goal).shape == (2, 5)
    torch.testing.assert_close(pixel_cost(ours, goal)[1, 3], pixel_cost(ours[1, 3], goal[1, 3]))


def test_pixel_cost_resizes_by_area():
    small = _frames(3, 64, 64)
    large = small.repeat_interleave(2, dim=1).repeat_interleave(3, dim=2)
    torch.testing.assert_close(pixel_cost(small, large), torch.zeros(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("distance", list(Distance))
def test_latent_cost_is_a_symmetric_distance(distance):
    generator = torch.Generator().manual_seed(0)
    ours, goal = torch.randn(2, 3, 5, 16, 7, generator=generator)
    forth, back = latent_cost(ours, goal, distance=distance), latent_cost(goal, ours, distance=distance)
    torch.testing.assert_close(forth, back)
    torch.testing.assert_close(
        latent_cost(ours, ours, distance=distance), torch.zeros(3, 5), atol=1e-6, rtol=0
    )
    assert (forth > 0).all()
    torch.testing.assert_close(forth[2, 4], latent_cost(ours[2, 4], goal[2, 4], distance=distance))


def test_latent_cost_equals_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    ours, goal = torch.randn(2, 16, 3, generator=generator)
    difference = (ours - goal).reshape(4, 4, 3)
    quarters = [difference[r : r + 2, c : c + 2].mean(dim=(0, 1)) for r in (0, 2) for c in (0, 2)]
    pooled = torch.stack(quarters)
    expected = (
        difference.square().mean() + pooled.square().mean() + difference.mean(dim=(0, 1)).square().mean()
    )
    torch.testing.assert_close(latent_cost(ours, goal), expected)


def test_a_constant_offset_counts_once_a_scale():
    goal = torch.zeros(25, 2)
    assert latent_cost(goal + 3, goal).item() == pytest.approx(3 * 9)
    assert latent_cost(goal + 3, goal, distance=Distance.absolute).item() == pytest.approx(3 * 3)
    assert latent_cost(torch.ones(1, 2), torch.zeros(1, 2)).item() == pytest.approx(1)  # one scale only


def test_tokens_that_make_no_square_are_refused():
    with pytest.raises(ValueError, match="square grid of tokens; got 15"):
        latent_cost(torch.zeros(15, 2), torch.zeros(15, 2))
