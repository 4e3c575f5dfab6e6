"""Laws of the U-Net around the transformer."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from tests.worldmodel.conftest import NUM_LATENTS, RandomLatents
from worldmodel.documents import Packer
from worldmodel.flow import FlowConfig
from worldmodel.latent_io import (
    LatentIo,
    LatentShape,
    ResidualBlock,
    UnetConfig,
    UnetInput,
    UnetOutput,
    as_context,
    as_generated,
    convolve,
    kept_numbers,
    to_pixels,
    to_tokens,
    way_in_flops,
    way_out_flops,
)
from worldmodel.objective import ObjectiveConfig, flow_errors, losses
from worldmodel.transfusion import Transfusion, TransfusionConfig

SHAPE = LatentShape(latent_channels=12, context_channels=8, latents_per_frame=9)
WIDTH = 40
UNET = {"latent_io": LatentIo.unet, "unet": UnetConfig(channels=16, num_blocks=2)}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_weights(module: torch.nn.Module) -> torch.nn.Module:
    for seed, parameter in enumerate(module.parameters()):
        parameter.data = 0.2 * drawn(*parameter.shape, seed=seed)
    return module


@pytest.fixture
def batch(tokenizer, forward_document):
    sizes = dict(num_rows=2, tokens_per_row=300, latents_per_frame=NUM_LATENTS)
    packer = Packer(tokenizer, RandomLatents(8), FlowConfig(), **sizes)
    rows = packer.empty()
    for seed in range(2):
        document = forward_document(seed=seed, num_context=2 + seed)
        assert rows.place(document, packer.length(document))
    return packer.pack(rows, rng=np.random.default_rng(0))


def test_pixels_are_those_of_pixel_shuffle_and_come_back():
    latents = drawn(2, 9, 20)
    grid = latents.transpose(1, 2).reshape(2, 20, 3, 3)  # frame channel row col
    assert torch.equal(to_pixels(latents), F.pixel_shuffle(grid, 2))
    assert torch.equal(to_tokens(to_pixels(latents)), latents)


def test_convolution_is_that_of_torch():
    pixels, kernels = drawn(2, 3, 4, 6), drawn(5, 3, 3, 3, seed=1)
    torch.testing.assert_close(convolve(pixels, kernels.flatten(1)), F.conv2d(pixels, kernels, padding=1))


def test_the_two_halves_of_what_enters_by_hand():
    latents = torch.tensor([[1.0, 2.0, 3.0]])
    assert as_context(latents, context_channels=2).tolist() == [[1.0, 2.0, 0.0]]
    assert as_context(latents, context_channels=0) is latents
    assert as_generated(torch.tensor([[3.0]]), channels_in=3).tolist() == [[0.0, 0.0, 3.0]]


def test_a_frame_depends_on_itself_and_on_its_time_alone():
    way_in = random_weights(UnetInput(WIDTH, SHAPE, UnetConfig(channels=16, num_blocks=2)))
    latents, time = drawn(3, 9, 20), drawn(3, WIDTH, seed=1)
    tokens, skips = way_in(latents, time)
    assert tokens.shape == (3, 9, WIDTH) and [each.shape for each in skips] == [(3, 16, 6, 6)] * 2
    torch.testing.assert_close(way_in(latents[1:2], time[1:2])[0], tokens[1:2])
    later = time.clone()
    later[0] += 1
    moved = (way_in(latents, later)[0] - tokens).abs().amax(dim=(1, 2))
    assert moved[0] > 1e-3 and (moved[1:] < 1e-5).all()


def test_a_block_is_its_formula():
    block = random_weights(ResidualBlock(16, 8, WIDTH))
    pixels, time = drawn(2, 16, 4, 4), drawn(2, WIDTH, seed=1)
    weights = {name: value.detach() for name, value in block.named_parameters()}

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.group_norm(x, 8, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def convolution(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv2d(x, weights[f"{name}.weight"].unflatten(1, (-1, 3, 3)), padding=1)

    hidden = convolution(F.silu(norm(pixels, "first_norm")), "first")
    scale, shift = (F.silu(time) @ weights["modulation.weight"].T)[..., None, None].split(8, dim=1)
    hidden = convolution(F.silu(norm(hidden, "second_norm") * (1 + scale) + shift), "second")
    expected = torch.einsum("oc,fcij->foij", weights["skip.weight"], pixels) + hidden
    torch.testing.assert_close(block(pixels, time), expected, atol=1e-4, rtol=1e-4)


def test_operations_are_those_that_torch_counts():
    config = UnetConfig(channels=16, num_blocks=2)
    way_in, way_out = UnetInput(WIDTH, SHAPE, config), UnetOutput(WIDTH, SHAPE, config)
    random_weights(way_in)
    random_weights(way_out)
    time = drawn(9, WIDTH)
    with FlopCounterMode(display=False) as counter:
        tokens, skips = way_in(drawn(9, 9, 20), time)
    # 9 frames of 9 tokens: what is a frame's divides
    assert counter.get_total_flops() == pytest.approx(81 * way_in_flops(way_in), rel=1e-3)
    with FlopCounterMode(display=False) as counter:
        way_out(tokens, skips, time)
    expected = 81 * way_out_flops(way_out, latents_per_frame=9)
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-3)


def kept_bytes(num_frames: int, config: UnetConfig) -> int:
    way_in = random_weights(UnetInput(WIDTH, SHAPE, config))
    way_out = random_weights(UnetOutput(WIDTH, SHAPE, config))
    latents, hidden = drawn(num_frames, 9, 20).bfloat16(), drawn(num_frames, 9, WIDTH).bfloat16()
    time, kept = drawn(num_frames, WIDTH).bfloat16().requires_grad_(), {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that no other takes its place
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        way_in(latents, time)  # in `embed`
        way_out(hidden.requires_grad_(), way_in(latents, time)[1], time)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_memory_is_about_what_autograd_keeps():
    """For 10 frames of 9 tokens more, in bfloat16: weights cancel out."""
    config = UnetConfig(channels=16, num_blocks=2)
    found = (kept_bytes(20, config) - kept_bytes(10, config)) / (2 * 90)
    assert kept_numbers(config, WIDTH) == pytest.approx(found, rel=0.2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_parameter_gets_a_gradient(make_model, batch, dtype):
    model = make_model(channels=8, **UNET)
    noise = drawn(*batch.generated.shape)
    losses(model, batch, noise, ObjectiveConfig(), dtype=dtype).total(torch.tensor([1.0, 3.0])).backward()
    silent = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert silent == []


def test_held_out_errors_are_those_of_training(make_model, batch):
    model, noise = make_model(channels=8, **UNET), drawn(*batch.generated.shape)

    def errors(rows: slice) -> torch.Tensor:
        config = ObjectiveConfig()
        return losses(model, batch.rows(rows), noise[rows], config, dtype=torch.float32).flow_errors

    whole = errors(slice(0, 2))
    assert torch.equal(flow_errors(model, batch, noise, ObjectiveConfig(), dtype=torch.float32), whole)
    parts = torch.cat([errors(slice(row, row + 1)) for row in range(2)])
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)


def test_an_untrained_model_predicts_the_mean_latent(tokenizer, generator):
    model = Transfusion(
        TransfusionConfig(width=48, num_heads=3, num_kv_heads=1, num_blocks=1, **UNET),
        vocab_size=tokenizer.vocab_size,
        latent_channels=8,
        latents_per_frame=9,
    ).initialise(generator=generator)
    found = model.latents(drawn(2, 18, 48), drawn(2, 18, 8, seed=1), torch.full((2, 18), 0.3))
    assert found.shape == (2, 18, 8) and (found == 0).all()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("sizes", "match"),
    [
        ({"latent_channels": 6}, "multiple of 4; got 9 tokens of 6 channels"),
        ({"context_channels": 2}, r"12 channels \(2 more for context\)"),
        ({"latents_per_frame": 8}, "square number of tokens.*got 8 tokens"),
        ({"latents_per_frame": None}, "got None tokens"),
    ],
)
def test_what_does_not_divide_is_refused(sizes, match):
    config = TransfusionConfig(width=48, num_heads=3, num_kv_heads=1, num_blocks=1, **UNET)
    shape = {"latent_channels": 12, "latents_per_frame": 9}
    with pytest.raises(ValueError, match=match):
        Transfusion(config, vocab_size=30, **(shape | sizes))


def test_channels_that_form_no_groups_are_refused():
    with pytest.raises(ValueError, match=r"multiple of 8 and unet\.num_blocks at least 1, got 12 and 1"):
        UnetConfig(channels=12)
