"""Sizes: the parameters, operations and memory of a run, counted before anything is made.

Models are built on the meta device, so that one of any size takes milliseconds and no memory.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from worldmodel.feedforward import Experts, FeedForwardKind, PerModality, SharedExperts, SwiGlu
from worldmodel.latent_io import LatentIo, UnetInput, UnetOutput, kept_numbers, way_in_flops, way_out_flops
from worldmodel.optimisation import OptimisationConfig, Optimisers
from worldmodel.transfusion import Block, Transfusion, TransfusionConfig

NOT_EVERY_TOKEN = ("text_embedding.", "place_embedding.", "latent_input.", "latent_output.")
"""Parameters that are looked up, or counted by themselves."""
FLOAT32_BYTES = 4
BFLOAT16_BYTES = 2
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """How many parameters a model has, and how many of them work for one token.

    As the field counts, all that is not feed-forward works for every token, embeddings included.
    """

    total: int
    active_text: int
    active_image: int


def on_meta(
    config: TransfusionConfig,
    *,
    vocab_size: int,
    latent_channels: int,
    context_channels: int = 0,
    latents_per_frame: int | None = None,
) -> Transfusion:
    """Return a model without memory."""
    with torch.device("meta"):
        return Transfusion(
            config,
            vocab_size=vocab_size,
            latent_channels=latent_channels,
            context_channels=context_channels,
            latents_per_frame=latents_per_frame,
        )


def count_parameters(model: Transfusion) -> Parameters:
    """Count the parameters of a model on any device."""
    total = num_parameters(model)
    text = image = total
    for block in model.blocks:
        assert isinstance(block, Block)
        every = num_parameters(block.feedforward)
        text -= every - _active(block.feedforward, is_image=False)
        image -= every - _active(block.feedforward, is_image=True)
    return Parameters(total=total, active_text=text, active_image=image)


def num_parameters(module: nn.Module) -> int:
    """Return the number of entries of all parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _active(feedforward: SwiGlu | PerModality | Experts | None, *, is_image: bool) -> int:
    """Return how many parameters of a feed-forward layer work for one token."""
    match feedforward:
        case None:
            return 0
        case SwiGlu():
            return num_parameters(feedforward)
        case PerModality():
            return num_parameters(feedforward.image if is_image else feedforward.text)
        case Experts():
            config = feedforward.config
            routed = feedforward.gate_and_input.numel() + feedforward.output.numel()
            shared = _active(feedforward.shared, is_image=is_image)
            return num_parameters(feedforward.router) + shared + routed * config.top_k // config.num_experts


def forward_flops(model: Transfusion, *, num_seen: int, is_image: bool) -> int:
    """Return the floating-point operations of one token's forward pass that attends to `num_seen` tokens.

    Two for each weight it is multiplied with, and for each product in attention's scores and sums (as in
    arXiv 2204.02311, appendix B). Norms, rotations and the embedding's lookup are not counted. Of a U-Net a
    token of an image counts all, the way in twice, once for what the way out reads of it.
    """
    counted = count_parameters(model)
    weights = (counted.active_image if is_image else counted.active_text) - counted.total
    weights += sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1 and not name.startswith(NOT_EVERY_TOKEN)
    )
    text_head = num_parameters(model.text_embedding if model.config.tie_embeddings else model.text_output)
    weights -= 0 if model.config.tie_embeddings else text_head
    weights += 0 if is_image else text_head
    flops = 2 * weights + 4 * model.config.num_blocks * model.config.width * num_seen
    if isinstance(model.latent_input, UnetInput) and isinstance(model.latent_output, UnetOutput):
        return flops + (_unet_flops(model, model.latent_input, model.latent_output) if is_image else 0)
    every_token = num_parameters(model.latent_input)
    return flops + 2 * (every_token + (num_parameters(model.latent_output) if is_image else 0))


def _unet_flops(model: Transfusion, way_in: UnetInput, way_out: UnetOutput) -> int:
    tokens = way_in.latents_per_frame
    time = 2 * num_parameters(model.time_embedding) // tokens  # once more a frame, for the way out
    return 2 * way_in_flops(way_in) + way_out_flops(way_out, latents_per_frame=tokens) + time


def state_bytes(model: Transfusion, optimisation: OptimisationConfig) -> int:
    """Return the bytes of weights, gradients, moving average and optimiser state, all float32, together."""
    moments = sum(
        len([key for key in keys if key != "step"]) * parameter.numel()
        for _, parameter, keys in Optimisers(model, optimisation).states()
    )
    return FLOAT32_BYTES * (3 * num_parameters(model) + moments)


def gathered_bytes(model: Transfusion) -> int:
    """Return the bytes that a rank of a sharded run gathers at most: of two blocks and all that is outside.

    Weights and gradients are float32; the next block is gathered while one computes.
    """
    blocks = [num_parameters(block) for block in model.blocks]
    outside = num_parameters(model) - sum(blocks)
    return 2 * FLOAT32_BYTES * (outside + 2 * max(blocks))


def activation_bytes(config: TransfusionConfig, *, num_tokens: int, recompute: bool = False) -> int:
    """Return the bytes that a forward pass in bfloat16 keeps of `num_tokens` tokens for the backward pass.

    Of every linear layer its input, of every norm its input and factor, of attention (fused) queries, keys,
    values and output, of SwiGLU its gate, value and product. Logits, and the scores of attention that is not
    fused, come on top. With `recompute` all that is of one block only, and of the others their inputs. Of a
    U-Net all counts as if every token were an image's.
    """
    width = config.width
    keys_values = 2 * config.num_kv_heads * config.head_dim
    norms = 2 * 2 * width + 2 * (width + keys_values // 2)
    attention = width + (width + keys_values) + width
    match config.feedforward:
        case FeedForwardKind.shared:
            num_inputs, hidden = 1, config.image_hidden
        case FeedForwardKind.per_modality:
            num_inputs, hidden = 1, max(config.text_hidden, config.image_hidden)
        case FeedForwardKind.experts:
            experts = config.experts
            shared_hidden = 0 if experts.shared is SharedExperts.none else experts.shared_hidden
            # Of each routed expert what goes in; what goes into the shared one; for the router float32.
            num_inputs = experts.top_k + (1 if shared_hidden else 0) + 2
            # Of a routed expert the product is kept before and after it is weighed.
            hidden = 5 * experts.top_k * experts.expert_hidden // 4 + shared_hidden
    feedforward = num_inputs * width + 4 * hidden
    block = norms + attention + feedforward
    blocks = block + config.num_blocks * width if recompute else config.num_blocks * block
    unet = kept_numbers(config.unet, width) if config.latent_io is LatentIo.unet else 0
    return BFLOAT16_BYTES * num_tokens * (blocks + unet)


def cache_bytes(config: TransfusionConfig, *, num_tokens: int) -> int:
    """Return the bytes of the keys and values of `num_tokens` tokens in bfloat16."""
    return 2 * BFLOAT16_BYTES * config.num_blocks * config.num_kv_heads * config.head_dim * num_tokens


def logit_bytes(*, num_tokens: int, vocab_size: int) -> int:
    """Return the bytes of logits, of their float32 copy and of its log-softmax, if all tokens were text."""
    return (BFLOAT16_BYTES + 2 * FLOAT32_BYTES) * num_tokens * vocab_size


def check_fits(needed_bytes: int, *, available_bytes: int) -> None:
    """Refuse a run that its machine cannot hold: it would be killed after it had worked for a while."""
    if needed_bytes > available_bytes:
        raise ValueError(
            f"needed {needed_bytes / 1e9:.1f} GB for weights, gradients, optimiser and the activations of "
            f"rows_at_once rows in each process, there are {available_bytes / 1e9:.1f} GB; choose a smaller "
            "preset, fewer rows at once, recompute=true, or sharding=fsdp on more ranks"
        )


def memory_bytes(device: torch.device) -> int:
    """Return the size of a GPU's memory, or of what this machine or container lets its processes use."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(physical, int(CONTAINER_LIMIT.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # no control groups, or `max`: no limit
        return physical
