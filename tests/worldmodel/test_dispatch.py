"""Laws of dispatch."""

import pytest
import torch

from worldmodel.dispatch import MOST_FILLED, Places, filling, gather, spread

EXPERTS = torch.tensor([[2, 0], [4, 2], [0, 2], [2, 4], [0, 4]])


def test_places_by_hand():
    places = Places.of(torch.tensor([[1, 0], [1, 3], [3, 0]]), num_experts=5)
    assert places.token_of.tolist() == [0, 2, 0, 1, 1, 2]  # expert 0: tokens 0, 2; 1: 0, 1; 3: 1, 2
    assert places.rows_of.tolist() == [[2, 0], [3, 4], [5, 1]]
    assert places.ends.tolist() == [2, 4, 4, 6, 6]
    assert places.counts.tolist() == [2, 2, 0, 2, 0]


def test_filled_places_by_hand():
    """Groups of 2, 2, 0, 2 and 0 rows, each filled up to a multiple of 4; the last takes what is left."""
    places = Places.of(torch.tensor([[1, 0], [1, 3], [3, 0]]), num_experts=5, multiple=4)
    assert places.token_of.tolist() == [0, 2, 3, 3, 0, 1, 3, 3, 1, 2] + [3] * 14
    assert places.rows_of.tolist() == [[4, 0], [5, 8], [9, 1]]
    assert places.ends.tolist() == [4, 8, 8, 12, 24]
    assert places.counts.tolist() == [2, 2, 0, 2, 0]


@pytest.mark.parametrize("num_tokens", [0, 1, 5, 64])
@pytest.mark.parametrize("multiple", [2, 8])
def test_filled_groups_have_room_for_all_whatever_is_chosen(generator, num_tokens, multiple):
    num_rows = set()
    for num_chosen in (1, 2, 7):  # how many of the experts are chosen at all
        experts = torch.randint(num_chosen, (num_tokens, 2), generator=generator)
        places = Places.of(experts, num_experts=7, multiple=multiple)
        sizes = places.ends.diff(prepend=places.ends.new_zeros(1))
        assert (sizes >= places.counts).all() and (sizes % multiple == 0).all()
        expert_of = torch.arange(7).repeat_interleave(sizes)
        assert torch.equal(expert_of[places.rows_of], experts)
        assert places.rows_of.unique().numel() == experts.numel()
        num_rows.add(len(places.token_of))
    assert len(num_rows) == 1


def test_only_products_that_are_planned_by_size_are_filled():
    many = torch.zeros(1, dtype=torch.bfloat16)
    assert filling(16_000, 14, many) == 32
    assert filling(10**6, 14, many) == MOST_FILLED
    assert filling(100, 14, many) == 1
    assert filling(16_000, 14, many.float()) == 1
    assert filling(16_000, 14, many.to("meta")) == 1


def test_each_row_holds_its_token_and_lies_with_its_expert():
    places = Places.of(EXPERTS, num_experts=7)
    experts = EXPERTS.flatten()[places.choice_of]
    assert experts.tolist() == sorted(experts.tolist())
    assert places.token_of.tolist() == (places.choice_of // 2).tolist()
    assert places.counts.tolist() == torch.bincount(EXPERTS.flatten(), minlength=7).tolist()


@pytest.mark.parametrize("multiple", [1, 4])
def test_gathering_is_the_transpose_of_spreading(generator, multiple):
    """<spread x, y> = <x, gather y>, and each one's gradient is the other."""
    places = Places.of(EXPERTS, num_experts=7, multiple=multiple)
    tokens = torch.randn(5, 3, generator=generator)
    rows = torch.randn(len(places.token_of), 3, generator=generator)
    spread_out = spread(tokens.requires_grad_(), places.token_of, places.rows_of)
    gathered = gather(rows.requires_grad_(), places.token_of, places.rows_of)
    torch.testing.assert_close((spread_out * rows).sum(), (tokens * gathered).sum())
    (of_tokens,) = torch.autograd.grad(spread_out, tokens, rows.detach())
    (of_rows,) = torch.autograd.grad(gathered, rows, tokens.detach())
    torch.testing.assert_close(of_tokens, gathered.detach())
    torch.testing.assert_close(of_rows, spread_out.detach())


@pytest.mark.parametrize("multiple", [1, 2])
@pytest.mark.parametrize("function", [spread, gather])
def test_gradients_equal_numeric_ones(generator, function, multiple):
    places = Places.of(EXPERTS, num_experts=7, multiple=multiple)
    num_given = 5 if function is spread else len(places.token_of)
    given = torch.randn(num_given, 2, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: function(x, places.token_of, places.rows_of), given.requires_grad_()
    )
