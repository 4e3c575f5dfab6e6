"""Laws of the feed-forward layers."""

import pytest
import torch
import torch.nn.functional as F

from worldmodel.feedforward import (
    Experts,
    ExpertsConfig,
    Modalities,
    PerModality,
    load_balance_loss,
    top_experts,
)

IS_IMAGE = torch.tensor([True, False, True, True, False, False, True])


def drawn(module, generator):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return module


def test_each_modality_goes_through_its_own_layer(generator):
    layer = drawn(PerModality(6, text_hidden=5, image_hidden=9), generator)
    tokens = torch.randn(7, 6, generator=generator)
    output = layer(tokens, Modalities.of(IS_IMAGE))
    for index, is_image in enumerate(IS_IMAGE):
        expected = (layer.image if is_image else layer.text)(tokens[index])
        torch.testing.assert_close(output[index], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_grouped_experts_equal_a_loop_over_tokens_forward_and_backward(generator, dtype):
    config = ExpertsConfig(num_experts=5, top_k=2, expert_hidden=8, shared_hidden=4)
    layer = drawn(Experts(16, config), generator)
    tokens = torch.randn(7, 16, generator=generator).to(dtype).requires_grad_()
    modalities = Modalities.of(IS_IMAGE)
    output, _ = layer(tokens, modalities)
    weights, indices = top_experts(layer.router(tokens.float()), top_k=2)
    rows = []
    for token, expert_weights, experts in zip(tokens, weights, indices, strict=True):
        row = torch.zeros(16, dtype=dtype)
        for weight, expert in zip(expert_weights, experts, strict=True):
            gate, value = (token @ layer.gate_and_input[expert].to(dtype)).chunk(2)
            row = row + weight.to(dtype) * ((F.silu(gate) * value) @ layer.output[expert].to(dtype))
        rows.append(row)
    expected = torch.stack(rows) + layer.shared(tokens, modalities)
    tolerance = 1e-5 if dtype is torch.float32 else 5e-2
    torch.testing.assert_close(output, expected, atol=tolerance, rtol=tolerance)
    found = torch.autograd.grad(output.float().square().sum(), [tokens, layer.output, layer.router.weight])
    wanted = torch.autograd.grad(expected.float().square().sum(), [tokens, layer.output, layer.router.weight])
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).float().norm() <= 10 * tolerance * other.float().norm()


def test_no_token_is_dropped_when_one_expert_takes_all(generator):
    config = ExpertsConfig(num_experts=3, top_k=1, expert_hidden=8, shared_hidden=8)
    layer = drawn(Experts(16, config), generator)
    with torch.no_grad():
        layer.router.weight.zero_()
    tokens = torch.randn(7, 16, generator=generator)
    output, balance = layer(tokens, Modalities.of(IS_IMAGE))
    assert (output.abs().sum(dim=-1) > 0).all()
    assert balance > 0


def test_balance_loss_is_one_when_uniform_and_num_experts_when_collapsed():
    balanced = load_balance_loss(torch.zeros(4, 4), torch.tensor([[0], [1], [2], [3]]))
    torch.testing.assert_close(balanced, torch.tensor(1.0))
    collapsed = load_balance_loss(torch.tensor([[50.0, 0, 0, 0]] * 4), torch.zeros(4, 1, dtype=torch.long))
    torch.testing.assert_close(collapsed, torch.tensor(4.0))


def test_more_experts_a_token_than_there_are_is_refused():
    with pytest.raises(ValueError, match="top_k"):
        ExpertsConfig(num_experts=2, top_k=3)
