"""What is counted beforehand is what models and their training take."""

import os
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from tests.worldmodel.conftest import CHANNELS
from worldmodel.attend import PackedAttend
from worldmodel.attention import rotation_at
from worldmodel.feedforward import ExpertsConfig, FeedForwardKind, Modalities, SharedExperts
from worldmodel.optimisation import MatrixOptimiser, OptimisationConfig, Optimisers
from worldmodel.sizes import (
    activation_bytes,
    cache_bytes,
    check_fits,
    count_parameters,
    forward_flops,
    gathered_bytes,
    memory_bytes,
    num_parameters,
    on_meta,
    state_bytes,
)
from worldmodel.transfusion import Block, TokenInputs, Transfusion, TransfusionConfig

EXPERTS = ExpertsConfig(num_experts=6, top_k=2, expert_hidden=8, shared_hidden=16)


def inputs(num_tokens: int, *, is_image: bool) -> TokenInputs:
    ids = torch.ones(1, num_tokens, dtype=torch.long)
    return TokenInputs(
        ids=ids,
        places=torch.zeros_like(ids),
        values=torch.zeros(1, num_tokens),
        is_value=torch.zeros(1, num_tokens, dtype=torch.bool),
        is_image=torch.full((1, num_tokens), is_image),
        latents=torch.randn(1, num_tokens, CHANNELS, generator=torch.Generator().manual_seed(0)),
        times=torch.zeros(1, num_tokens),
        positions=torch.zeros(1, num_tokens, 3, dtype=torch.long),
    )


def run(model: Transfusion, num_tokens: int, *, is_image: bool) -> torch.Tensor:
    given = inputs(num_tokens, is_image=is_image)
    attend = PackedAttend(torch.ones(1, num_tokens, num_tokens, dtype=torch.bool))
    hidden, _ = model(given, attend, Modalities.of(given.is_image))
    return model.latents(hidden) if is_image else model.text_logits(hidden[0])


def test_active_parameters_by_hand(make_model):
    width, hidden = 48, 8
    model = make_model(feedforward=FeedForwardKind.experts, experts=EXPERTS)
    counted = count_parameters(model)
    idle_experts = 4 * 3 * width * hidden
    other_shared = 3 * width * 16
    assert counted.total == num_parameters(model)
    assert counted.total - counted.active_text == 2 * (idle_experts + other_shared)
    assert counted.active_text == counted.active_image


@pytest.mark.parametrize("is_image", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", [FeedForwardKind.shared, FeedForwardKind.per_modality])
def test_operations_are_those_that_torch_counts(make_model, kind, tied, is_image):
    model = make_model(feedforward=kind, tie_embeddings=tied)
    with FlopCounterMode(display=False) as counter:
        run(model, 7, is_image=is_image)
    assert counter.get_total_flops() == 7 * forward_flops(model, num_seen=7, is_image=is_image)


@pytest.mark.parametrize("matrices", list(MatrixOptimiser))
def test_the_state_of_training_is_what_optimisers_keep(make_model, matrices):
    model, config = make_model(), OptimisationConfig(matrices=matrices)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimisers = Optimisers(model, config)
    optimisers.step(rate=0.0)
    moments = sum(tensor.nbytes for name, tensor in optimisers.tensors().items() if "/step" not in name)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    assert state_bytes(model, config) == 3 * weights + moments


@pytest.mark.parametrize("shared", [SharedExperts.none, SharedExperts.one])
def test_only_routed_experts_are_idle_where_no_modality_has_its_own(make_model, shared):
    experts = replace(EXPERTS, shared=shared)
    counted = count_parameters(make_model(feedforward=FeedForwardKind.experts, experts=experts))
    assert counted.total - counted.active_text == 2 * 4 * 3 * 48 * 8


def test_a_sharded_run_gathers_two_blocks_and_what_is_outside(make_model):
    three, four = (gathered_bytes(make_model(num_blocks=num_blocks)) for num_blocks in (3, 4))
    one = make_model(num_blocks=1)
    block = sum(parameter.numel() for parameter in one.blocks.parameters())
    outside = sum(parameter.numel() for parameter in one.parameters()) - block
    assert three == four == 8 * (outside + 2 * block)


@pytest.mark.parametrize(
    ("kind", "shared"),
    [
        *((kind, SharedExperts.per_modality) for kind in FeedForwardKind),
        (FeedForwardKind.experts, SharedExperts.none),
        (FeedForwardKind.experts, SharedExperts.one),
    ],
)
def test_activations_are_about_those_that_autograd_keeps(kind, shared):
    """For 96 tokens more, in bfloat16, with attention as a fused kernel keeps it: weights cancel out."""
    config = TransfusionConfig(
        width=64,
        num_blocks=1,
        num_heads=4,
        num_kv_heads=2,
        feedforward=kind,
        experts=ExpertsConfig(num_experts=6, top_k=2, expert_hidden=64, shared=shared, shared_hidden=64),
    )
    found = kept_bytes(config, num_tokens=192) - kept_bytes(config, num_tokens=96)
    assert activation_bytes(config, num_tokens=96) == pytest.approx(found, rel=0.2)


def test_recomputed_blocks_keep_their_inputs_and_one_block_all():
    sizes = [
        activation_bytes(TransfusionConfig(num_blocks=blocks), num_tokens=10, recompute=recompute)
        for blocks, recompute in ((1, False), (7, True))
    ]
    assert sizes[1] - sizes[0] == 2 * 10 * 7 * TransfusionConfig().width


def kept_bytes(config: TransfusionConfig, *, num_tokens: int) -> int:
    block = Block(config)
    for parameter in block.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    positions = torch.zeros(1, num_tokens, 3, dtype=torch.long)
    rotation = rotation_at(positions, head_dim=16, base=10_000.0, dtype=torch.bfloat16)
    x = torch.randn(1, num_tokens, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        is_image = torch.ones(num_tokens, dtype=torch.bool)
        block(x.requires_grad_(), rotation, attend_fused, 0, Modalities.of(is_image))
    return sum(kept.values())


def attend_fused(layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    query, key, value = (each.transpose(1, 2) for each in (query, key, value))  # row head token head_dim
    return F.scaled_dot_product_attention(query, key, value, enable_gqa=True).transpose(1, 2)


def test_the_cache_is_that_of_the_attention(make_model):
    model = make_model()
    attend = PackedAttend(torch.ones(1, 5, 5, dtype=torch.bool), keep=True)
    given = inputs(5, is_image=True)
    model(given, attend, Modalities.of(given.is_image), dtype=torch.bfloat16)
    kept = sum(key.nbytes + value.nbytes for key, value in attend.kept)
    assert cache_bytes(model.config, num_tokens=5) == kept


def test_a_model_on_the_meta_device_has_no_memory_and_draws_nothing():
    before = torch.random.get_rng_state()
    model = on_meta(TransfusionConfig(), vocab_size=30, latent_channels=4)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_memory_of_this_machine_is_known():
    assert memory_bytes(torch.device("cpu")) > 2**30


@pytest.mark.parametrize(("written", "limit"), [("1000000000\n", 10**9), ("max\n", None), (None, None)])
def test_a_container_may_leave_less_memory_than_its_machine_has(tmp_path, monkeypatch, written, limit):
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    path = tmp_path / "memory.max"
    if written is not None:
        path.write_text(written)
    monkeypatch.setattr("worldmodel.sizes.CONTAINER_LIMIT", path)
    assert memory_bytes(torch.device("cpu")) == (limit or physical)


def test_a_run_without_room_is_refused():
    check_fits(5 * 10**9, available_bytes=6 * 10**9)
    with pytest.raises(ValueError, match=r"needed 271\.0 GB.*there are 24\.0 GB; choose a smaller preset"):
        check_fits(271 * 10**9, available_bytes=24 * 10**9)
