"""Laws of dispatch."""

import pytest
import torch

from worldmodel.dispatch import Places, gather, spread

EXPERTS = torch.tensor([[2, 0], [4, 2], [0, 2], [2, 4], [0, 4]])


def test_places_by_hand():
    places = Places.of(torch.tensor([[1, 0], [1, 3], [3, 0]]), num_experts=5)
    assert places.token_of.tolist() == [0, 2, 0, 1, 1, 2]  # expert 0: tokens 0, 2; 1: 0, 1; 3: 1, 2
    assert places.rows_of.tolist() == [[2, 0], [3, 4], [5, 1]]
    assert places.ends.tolist() == [2, 4, 4, 6, 6]
    assert places.counts.tolist() == [2, 2, 0, 2, 0]


def test_each_row_holds_its_token_and_lies_with_its_expert():
    places = Places.of(EXPERTS, num_experts=7)
    experts = EXPERTS.flatten()[places.choice_of]
    assert experts.tolist() == sorted(experts.tolist())
    assert places.token_of.tolist() == (places.choice_of // 2).tolist()
    assert places.counts.tolist() == torch.bincount(EXPERTS.flatten(), minlength=7).tolist()


def test_gathering_is_the_transpose_of_spreading(generator):
    """<spread x, y> = <x, gather y>, and each one's gradient is the other."""
    places = Places.of(EXPERTS, num_experts=7)
    tokens, rows = torch.randn(5, 3, generator=generator), torch.randn(10, 3, generator=generator)
    spread_out = spread(tokens.requires_grad_(), places.token_of, places.rows_of)
    gathered = gather(rows.requires_grad_(), places.token_of, places.rows_of)
    torch.testing.assert_close((spread_out * rows).sum(), (tokens * gathered).sum())
    (of_tokens,) = torch.autograd.grad(spread_out, tokens, rows.detach())
    (of_rows,) = torch.autograd.grad(gathered, rows, tokens.detach())
    torch.testing.assert_close(of_tokens, gathered.detach())
    torch.testing.assert_close(of_rows, spread_out.detach())


@pytest.mark.parametrize("function", [spread, gather])
def test_gradients_equal_numeric_ones(generator, function):
    places = Places.of(EXPERTS, num_experts=7)
    given = torch.randn(5 if function is spread else 10, 2, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: function(x, places.token_of, places.rows_of), given.requires_grad_()
    )
