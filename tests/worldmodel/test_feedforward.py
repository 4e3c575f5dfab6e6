"""Laws of the feed-forward layers."""

import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F

from worldmodel.dispatch import filling
from worldmodel.feedforward import (
    Experts,
    ExpertsConfig,
    Modalities,
    PerModality,
    SharedExperts,
    SwiGlu,
)
from worldmodel.router import Balancing

IS_IMAGE = torch.tensor([True, False, True, True, False, False, True])
CONFIG = ExpertsConfig(num_experts=5, top_k=2, expert_hidden=8, shared_hidden=24)
KINDS = list(itertools.product(SharedExperts, Balancing))


def drawn(module, generator):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return module


def by_token(layer: Experts, tokens: torch.Tensor, is_image: torch.Tensor) -> torch.Tensor:
    """The definition: each token through each of its experts, one after another."""
    dtype = tokens.dtype
    _, weights, indices = layer.router(tokens)
    rows = []
    for token, image, expert_weights, experts in zip(tokens, is_image, weights, indices, strict=True):
        row = torch.zeros_like(token)
        for weight, expert in zip(expert_weights, experts, strict=True):
            gate, value = (token @ layer.gate_and_input[expert].to(dtype)).chunk(2)
            row = row + weight.to(dtype) * ((F.silu(gate) * value) @ layer.output[expert].to(dtype))
        match layer.shared:
            case None:
                pass
            case SwiGlu():
                row = row + layer.shared(token)
            case PerModality():
                row = row + (layer.shared.image if image else layer.shared.text)(token)
        rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize("is_image", [IS_IMAGE, IS_IMAGE | True, IS_IMAGE & False])
def test_each_modality_goes_through_its_own_layer(generator, is_image):
    layer = drawn(PerModality(6, text_hidden=5, image_hidden=9), generator)
    tokens = torch.randn(7, 6, generator=generator, requires_grad=True)
    output = layer(tokens, Modalities.of(is_image))
    expected = torch.stack(
        [(layer.image if image else layer.text)(token) for token, image in zip(tokens, is_image, strict=True)]
    )
    torch.testing.assert_close(output, expected)
    found, wanted = (torch.autograd.grad(each.square().sum(), tokens) for each in (output, expected))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("shared", "balancing"), KINDS)
@pytest.mark.parametrize("is_image", [IS_IMAGE, IS_IMAGE | True, IS_IMAGE & False, torch.tensor([True])])
def test_grouped_experts_equal_a_loop_over_tokens_forward_and_backward(
    generator, dtype, shared, balancing, is_image
):
    config = dataclasses.replace(CONFIG, shared=shared, balancing=balancing)
    layer = drawn(Experts(16, config), generator)
    if balancing is Balancing.bias:
        layer.router.selection_bias.normal_(0, 0.2, generator=generator)
    tokens = torch.randn(len(is_image), 16, generator=generator).to(dtype).requires_grad_()
    output, _ = layer(tokens, Modalities.of(is_image))
    expected = by_token(layer, tokens, is_image)
    tolerance = 1e-5 if dtype is torch.float32 else 5e-2
    torch.testing.assert_close(output, expected, atol=tolerance, rtol=tolerance)
    parameters = [tokens, *layer.parameters()]
    found, wanted = (
        torch.autograd.grad(each.float().square().sum(), parameters, allow_unused=True)
        for each in (output, expected)
    )
    for one, other in zip(found, wanted, strict=True):
        if other is None:  # the layer of a modality that is absent
            assert one is None or one.abs().max() == 0
        else:
            assert one is not None
            assert (one - other).float().norm() <= 10 * tolerance * other.float().norm() + 1e-6


def test_groups_that_are_filled_up_give_what_others_give(generator, monkeypatch):
    layer = drawn(Experts(16, CONFIG), generator)
    tokens = torch.randn(400, 16, generator=generator).bfloat16().requires_grad_()
    modalities = Modalities.of(torch.arange(400) % 3 == 0)
    assert filling(2 * len(tokens), CONFIG.num_experts, tokens) == 4

    def found():
        output, load = layer(tokens, modalities)
        return (
            output,
            load,
            *torch.autograd.grad(output.float().square().sum(), [tokens, *layer.parameters()]),
        )

    filled = found()
    monkeypatch.setattr("worldmodel.feedforward.filling", lambda *_: 1)
    for one, other in zip(filled, found(), strict=True):
        assert (one - other).float().norm() <= 1e-2 * other.float().norm()
    assert torch.equal(filled[1], found()[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_experts_without_tokens_get_gradients_of_zero(generator, dtype):
    """All tokens choose experts 1 and 3: the first, a middle and the last group of the products are empty."""
    layer = drawn(Experts(16, CONFIG), generator)
    with torch.no_grad():
        layer.router.weight.zero_()
        layer.router.weight[1, 0], layer.router.weight[3, 0] = 1.0, 0.5
    tokens = torch.randn(7, 16, generator=generator)
    tokens[:, 0] = 1.0
    tokens = tokens.to(dtype)
    output, load = layer(tokens, Modalities.of(IS_IMAGE))
    assert load[0].tolist() == [0, 7, 0, 7, 0]
    tolerance = 1e-5 if dtype is torch.float32 else 5e-2
    torch.testing.assert_close(output, by_token(layer, tokens, IS_IMAGE), atol=tolerance, rtol=tolerance)
    output.float().square().sum().backward()
    for gradient in (layer.gate_and_input.grad, layer.output.grad):
        assert gradient is not None
        assert (gradient.abs().amax(dim=(1, 2)) > 0).tolist() == [False, True, False, True, False]


def test_no_token_is_dropped_when_one_expert_takes_all(generator):
    config = ExpertsConfig(
        num_experts=3, top_k=1, expert_hidden=8, shared=SharedExperts.none, shared_hidden=0
    )
    layer = drawn(Experts(16, config), generator)
    with torch.no_grad():
        layer.router.weight.zero_()
    output, load = layer(torch.randn(7, 16, generator=generator), Modalities.of(IS_IMAGE))
    assert (output.abs().sum(dim=-1) > 0).all()
    assert sorted(load[0].tolist()) == [0, 0, 7]


def test_a_token_has_the_same_output_whatever_else_is_in_the_batch(generator):
    layer = drawn(Experts(16, CONFIG), generator)
    tokens = torch.randn(7, 16, generator=generator)
    output, _ = layer(tokens, Modalities.of(IS_IMAGE))
    for index in range(7):
        alone, _ = layer(tokens[index : index + 1], Modalities.of(IS_IMAGE[index : index + 1]))
        torch.testing.assert_close(alone[0], output[index], atol=1e-6, rtol=1e-5)


def test_names_of_parameters_are_those_of_older_checkpoints():
    assert list(Experts(16, CONFIG).state_dict()) == [
        *("gate_and_input", "output", "router.weight"),
        *("shared.text.gate_and_input.weight", "shared.text.output.weight"),
        *("shared.image.gate_and_input.weight", "shared.image.output.weight"),
    ]


@pytest.mark.parametrize(
    ("granularity", "num_experts", "hidden"), [(1, 16, 8192), (16, 256, 512), (64, 1024, 128)]
)
def test_granularity_cuts_experts_as_the_paper_does(granularity, num_experts, hidden):
    config = ExpertsConfig.of_granularity(granularity, width=2048, shared=SharedExperts.none)
    assert (config.num_experts, config.expert_hidden, config.top_k) == (num_experts, hidden, granularity)
    assert config.num_shared == 0


def test_shared_experts_count_among_all_and_among_those_of_a_token():
    per_modality = ExpertsConfig.of_granularity(16, width=2048)
    assert (per_modality.num_experts, per_modality.top_k, per_modality.num_shared) == (254, 15, 2)
    one = ExpertsConfig.of_granularity(16, width=2048, shared=SharedExperts.one)
    assert (one.num_experts, one.top_k, one.num_shared) == (255, 15, 1)
    sparse = ExpertsConfig.of_granularity(16, width=2048, num_experts=1008)
    assert (sparse.num_experts, sparse.top_k, sparse.expert_hidden) == (1006, 15, 512)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="top_k"):
        ExpertsConfig(num_experts=2, top_k=3)
    with pytest.raises(ValueError, match="granularity must divide 4 \\* width = 768, got 5"):
        ExpertsConfig.of_granularity(5, width=192)
    with pytest.raises(ValueError, match="use shared=none"):
        ExpertsConfig.of_granularity(1, width=192)
    with pytest.raises(ValueError, match="shared_hidden must be at least 1, got 0"):
        ExpertsConfig(shared_hidden=0)
    with pytest.raises(ValueError, match="bias_rate"):
        ExpertsConfig(bias_rate=-0.1)


def test_sizes_that_grouped_products_cannot_align_are_refused():
    with pytest.raises(ValueError, match=r"expert_hidden must be a multiple of 8, got 12: .* 16 bytes"):
        ExpertsConfig(expert_hidden=12)
    with pytest.raises(ValueError, match=r"width .* must be a multiple of 8, got 20"):
        Experts(20, CONFIG)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("shared", "balancing"), KINDS)
def test_on_a_gpu_experts_equal_the_loop_over_tokens(generator, dtype, shared, balancing):
    """Most of 40 experts stay empty: their gradients must be zeros, not what memory held."""
    config = dataclasses.replace(CONFIG, num_experts=40, shared=shared, balancing=balancing)
    layer = drawn(Experts(16, config), generator).cuda()
    tokens = torch.randn(7, 16, generator=generator).to("cuda", dtype).requires_grad_()
    output, load = layer(tokens, Modalities.of(IS_IMAGE.cuda()))
    assert (load[0] == 0).any()
    expected = by_token(layer, tokens, IS_IMAGE)
    tolerance = 1e-4 if dtype is torch.float32 else 5e-2
    torch.testing.assert_close(output, expected, atol=tolerance, rtol=tolerance)
    parameters = [tokens, layer.gate_and_input, layer.output, layer.router.weight]
    found, wanted = (
        torch.autograd.grad(each.float().square().sum(), parameters) for each in (output, expected)
    )
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).float().norm() <= 10 * tolerance * other.float().norm() + 1e-6
