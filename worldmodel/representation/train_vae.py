"""Training of our own small autoencoder, from recordings, and the statistics of its latents.

Usage: python -m worldmodel.representation.train_vae data=[recordings/train] held_out=[recordings/val]
out=outputs/vae
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import hydra
import torch
from einops import rearrange
from jaxtyping import Float
from omegaconf import MISSING, DictConfig
from torch import Tensor

from data_tools.config import store, to_dict, to_object
from data_tools.randomness import generator_for
from data_tools.whole_file import write_text
from worldmodel.precision import Device, Precision
from worldmodel.representation.cache import FrameCache
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.kind import Kind
from worldmodel.representation.masters import MasterWeights
from worldmodel.representation.open import refuse_other
from worldmodel.representation.rae import initialise
from worldmodel.representation.small_vae import SmallVae, SmallVaeConfig, divergence
from worldmodel.representation.stage import BETAS, StageConfig, run_stage
from worldmodel.representation.statistics import statistics_of
from worldmodel.representation.train import check_held_out, open_frames, reconstruction_loss, report_on


@dataclass(frozen=True, kw_only=True)
class VaeTraining:
    """One training of a small autoencoder."""

    data: list[str] = MISSING
    """Folders of trajectories to train on."""
    held_out: list[str] = field(default_factory=list)
    """Folders of trajectories to report on; none of their frames is trained on."""
    out: str = MISSING
    """Folder of the result, of the checkpoint and of the frame cache."""
    seed: int = 0
    device: Device = Device.cpu
    num_threads: int = 1
    precision: Precision = Precision.bfloat16
    shape: SmallVaeConfig = field(default_factory=SmallVaeConfig)
    stage: StageConfig = field(
        default_factory=lambda: StageConfig(
            num_steps=1000, batch_size=64, learning_rate=3e-3, weight_decay=0.0
        )
    )
    gradient_weight: float = 1.0
    """Weight of the L1 error of differences between neighbouring pixels, which keeps edges sharp."""
    divergence_weight: float = 1e-4
    """Weight of the divergence from the standard normal [1/nat]; small, so that little is blurred by it."""

    def __post_init__(self) -> None:
        """Refuse to report on what is trained on."""
        check_held_out(self.data, self.held_out)


def train_vae(config: VaeTraining) -> CodecRepresentation:
    """Train, measure the statistics, write the representation to `config.out`, and return it."""
    torch.set_num_threads(config.num_threads)
    out = Path(config.out)
    refuse_other(out, Kind.vae.name)
    frames = open_frames(config.data, out / "cache", image_size=config.shape.image_size)
    codec = SmallVae(config.shape)
    initialise(codec, generator=generator_for(config.seed, "init"))
    train_networks(codec, frames, config)
    # To the precision that weights are stored in, before anything is measured on the latents.
    codec.to(device="cpu", dtype=torch.bfloat16)
    representation = CodecRepresentation(codec, None, device=str(config.device.of_rank(0)))
    normalisation = statistics_of(
        representation, frames, generator=generator_for(config.seed, "data", rank=2)
    )
    representation = representation.with_normalisation(normalisation)
    representation.save(out)
    return representation


def train_networks(codec: SmallVae, frames: FrameCache, config: VaeTraining) -> None:
    """Train encoder and decoder in place: errors of pixels and of edges, and a little divergence.

    Source: Latent Diffusion (arXiv 2112.10752), section 3.1, with the L1 error of differences in the place of
    its perceptual and adversarial terms, which need networks of others.
    """
    stage, dtype = config.stage, config.precision.dtype
    device = config.device.of_rank(0)
    codec.to(device)
    masters = MasterWeights(codec, dtype=dtype, weight_decay=stage.weight_decay, betas=BETAS)

    def draw_loss(generator: torch.Generator) -> Float[Tensor, ""]:
        indices = torch.randint(len(frames.frames), (stage.batch_size,), generator=generator)
        batch = frames.at(indices).to(device)
        target = rearrange(batch, "batch height width rgb -> batch rgb height width").float() / 255
        mean, log_variance = codec.posterior(target.to(dtype))
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        made = codec.made_of((mean + noise * (0.5 * log_variance).exp()).to(dtype)).float()
        error = reconstruction_loss(made, target, gradient_weight=config.gradient_weight)
        return error + config.divergence_weight * divergence(mean, log_variance)

    run_stage(
        "vae",
        stage,
        masters,
        draw_loss,
        checkpoint=Path(config.out) / "vae.safetensors",
        generator=generator_for(config.seed, "noise"),
        made_of=(
            *(config.seed, config.precision, config.shape, config.gradient_weight),
            *(config.divergence_weight, frames.identity),
        ),
    )


@hydra.main(version_base=None, config_path="../conf", config_name="train_vae")
def main(node: DictConfig) -> None:
    """Train, then write reconstructions and a report beside the result."""
    config = to_object(node, VaeTraining)
    representation = train_vae(config)
    # Only now: a folder that holds another training refuses this one, and keeps its own configuration.
    write_text(Path(config.out) / "config.json", json.dumps(to_dict(config), indent=1))
    report_on(representation, {"train": config.data, "held_out": config.held_out}, Path(config.out))


store("train_vae_schema", VaeTraining)

if __name__ == "__main__":
    main()
