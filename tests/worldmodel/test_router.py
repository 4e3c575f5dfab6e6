"""Laws of the router and of what balances the load of experts."""

import pytest
import torch

from worldmodel.router import (
    Balancing,
    Router,
    biased_experts,
    load_balance_loss,
    load_of,
    top_experts,
)


def counts_of(indices: torch.Tensor, num_experts: int) -> torch.Tensor:
    return torch.bincount(indices.flatten(), minlength=num_experts).float()


def loss_of(scores: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    counts = counts_of(indices, scores.shape[1])
    return load_balance_loss(load_of(scores, counts)[1], counts, top_k=indices.shape[1])


def test_the_balance_loss_is_one_when_uniform_and_num_experts_when_collapsed():
    balanced = loss_of(torch.zeros(4, 4), torch.tensor([[0], [1], [2], [3]]))
    torch.testing.assert_close(balanced, torch.tensor(1.0))
    collapsed = loss_of(torch.tensor([[50.0, 0, 0, 0]] * 4), torch.zeros(4, 1, dtype=torch.long))
    torch.testing.assert_close(collapsed, torch.tensor(4.0))


def test_the_balance_loss_is_the_papers_formula(generator):
    scores = torch.randn(7, 5, generator=generator)
    _, indices = top_experts(scores, top_k=3)
    shares = counts_of(indices, 5) / 21
    expected = 5 * sum(shares[e] * scores.softmax(dim=-1)[:, e].mean() for e in range(5))
    torch.testing.assert_close(loss_of(scores, indices), expected)


def test_parts_of_a_batch_add_up_to_its_balance_loss_and_its_gradient(generator):
    scores = torch.randn(11, 5, generator=generator, requires_grad=True)
    _, indices = top_experts(scores, top_k=2)
    whole = loss_of(scores, indices)
    counts = counts_of(indices, 5)
    parts = [load_balance_loss(load_of(part, counts)[1], counts, top_k=2) for part in scores.split((2, 6, 3))]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)
    torch.testing.assert_close(
        torch.autograd.grad(torch.stack(parts).sum(), scores), torch.autograd.grad(whole, scores)
    )


def test_layers_add_up(generator):
    probabilities, counts = torch.rand(3, 5, generator=generator), torch.rand(3, 5, generator=generator)
    together = load_balance_loss(probabilities, counts, top_k=2)
    apart = sum(load_balance_loss(p, c, top_k=2) for p, c in zip(probabilities, counts, strict=True))
    torch.testing.assert_close(together, apart)


def test_a_bias_changes_the_choice_and_no_weight(generator):
    scores = torch.randn(6, 5, generator=generator)
    unbiased = biased_experts(scores, torch.zeros(5), top_k=2)
    for found, expected in zip(unbiased, top_experts(scores, top_k=2), strict=True):
        torch.testing.assert_close(found, expected)
    weights, indices = biased_experts(scores, torch.tensor([0.0, 0, 0, 2, 0]), top_k=2)
    assert (indices == 3).any(dim=-1).all()
    torch.testing.assert_close(weights, scores.gather(1, indices).softmax(dim=-1))


def test_biases_move_against_the_load_by_the_rate():
    router = Router(8, 4, top_k=1, balancing=Balancing.bias)
    router.rebalance(torch.tensor([10.0, 0, 5, 5]), rate=0.25)
    assert router.selection_bias.tolist() == [-0.25, 0.25, 0, 0]
    router.rebalance(torch.tensor([10.0, 10, 10, 2]), rate=0.25)
    assert router.selection_bias.tolist() == [-0.5, 0, -0.25, 0.25]
    router.reset()
    assert router.selection_bias.tolist() == [0, 0, 0, 0]


def test_biases_even_out_a_load_that_is_far_from_even(generator):
    """The router prefers two experts for every token, and is not trained."""
    router = Router(8, 6, top_k=2, balancing=Balancing.bias)
    tokens = torch.randn(240, 8, generator=generator)
    with torch.no_grad():
        router.weight.normal_(0, 0.3, generator=generator)
        router.weight[:2, 0] = 1.0
    tokens[:, 0] = 1.5
    shares = []
    for _ in range(400):
        _, _, indices = router(tokens)
        counts = counts_of(indices, 6)
        shares.append((counts.max() / counts.mean()).item())
        router.rebalance(counts, rate=0.003)
    assert shares[0] > 2.0
    assert shares[-1] < 1.15


@pytest.mark.parametrize("balancing", list(Balancing))
def test_a_router_works_in_float32(balancing, generator):
    """In bfloat16 both scores would be 1: one is greater by less than its 8 bits hold."""
    router = Router(8, 2, top_k=1, balancing=balancing)
    with torch.no_grad():
        router.weight.zero_()
        router.weight[:, 0] = torch.tensor([1.0, 1.001])
    tokens = torch.ones(3, 8, dtype=torch.bfloat16)
    scores, weights, indices = router(tokens)
    assert scores.dtype == weights.dtype == torch.float32
    assert indices.flatten().tolist() == [1, 1, 1]


def test_only_biased_routers_have_biases_to_save():
    assert set(Router(8, 4, top_k=1, balancing=Balancing.loss).state_dict()) == {"weight"}
    biased = Router(8, 4, top_k=1, balancing=Balancing.bias)
    assert set(biased.state_dict()) == {"weight", "selection_bias"}
    assert set(dict(biased.named_parameters())) == {"weight"}
