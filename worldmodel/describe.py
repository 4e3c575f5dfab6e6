"""Describe: `python -m worldmodel.describe preset=paper` prints what a run would cost, as JSON.

Nothing is trained or read: the model is built on the meta device. `preset` is nano, small, base or paper, and
every setting of pretraining can be changed.
"""

import json
from dataclasses import asdict, dataclass

import hydra
from omegaconf import DictConfig

from data_tools.config import store, to_object
from worldmodel.feedforward import FeedForwardKind
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.sizes import (
    BFLOAT16_BYTES,
    activation_bytes,
    cache_bytes,
    count_parameters,
    forward_flops,
    on_meta,
    state_bytes,
)

ACTION_TOKENS = 26
"""Of an action's text and the markers of its frame, about."""


@dataclass(frozen=True, kw_only=True)
class DescribeConfig(PretrainConfig):
    """A pretraining run, and a plan with the model that it leaves."""

    context_channels: int = 0
    """Channels of the encoder that context frames are looked at with, if it is another one."""
    num_candidates: int = 64
    """Candidates that are imagined at once."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a run would cost.

    `parameters_active` and `flops_per_token` (training: forward and backward) are those of the modality that
    takes more; the operations are those of a token that sees half a row. Memory to train is that of one
    process that holds everything and one row of activations; memory to plan that of weights in bfloat16, the
    keys and values of the context, once, and those of all candidates.
    """

    parameters_total: int
    parameters_active: int
    num_experts: int
    """Of a block, shared ones included."""
    expert_hidden: int
    """Hidden units of a routed expert; 0 without experts."""
    flops_per_token: int
    flops_per_step: int
    tokens_per_step: int
    train_state_bytes: int
    train_activation_bytes_per_row: int
    plan_weight_bytes: int
    plan_context_bytes: int
    plan_candidate_bytes: int


def describe(config: DescribeConfig) -> Description:
    """Count; ValueError if the shape of the latents is not known."""
    if config.latents_per_frame is None or config.latent_channels is None:
        raise ValueError("needed latents_per_frame and latent_channels, got none; give both")
    shape, experts = config.model, config.model.experts
    is_mixture = shape.feedforward is FeedForwardKind.experts
    model = on_meta(
        shape,
        vocab_size=config.vocab_size,
        latent_channels=config.latent_channels,
        context_channels=config.context_channels,
        latents_per_frame=config.latents_per_frame,
    )
    parameters = count_parameters(model)
    flops = 3 * max(
        forward_flops(model, num_seen=config.tokens_per_row // 2, is_image=is_image)
        for is_image in (False, True)
    )
    tokens = config.num_rows * config.tokens_per_row
    context = 1 + config.documents.max_context * (config.latents_per_frame + 2)
    candidates = config.num_candidates * (config.latents_per_frame + ACTION_TOKENS)
    return Description(
        parameters_total=parameters.total,
        parameters_active=max(parameters.active_text, parameters.active_image),
        num_experts=experts.num_experts + experts.num_shared if is_mixture else 0,
        expert_hidden=experts.expert_hidden if is_mixture else 0,
        flops_per_token=flops,
        flops_per_step=flops * tokens,
        tokens_per_step=tokens,
        train_state_bytes=state_bytes(model, config.optimisation),
        train_activation_bytes_per_row=activation_bytes(
            shape, num_tokens=config.tokens_per_row, recompute=config.recompute
        ),
        plan_weight_bytes=BFLOAT16_BYTES * parameters.total,
        plan_context_bytes=cache_bytes(shape, num_tokens=context),
        plan_candidate_bytes=cache_bytes(shape, num_tokens=candidates),
    )


store("describe_schema", DescribeConfig)


@hydra.main(version_base=None, config_path="conf", config_name="describe")
def main(node: DictConfig) -> None:
    """Print the description of the configured run."""
    print(json.dumps(asdict(describe(to_object(node, DescribeConfig))), indent=1))


if __name__ == "__main__":
    main()
