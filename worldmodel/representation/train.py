"""Training of the representation: encoder by masked completion, then latent statistics, then the decoder.

Usage: python -m worldmodel.representation.train data=[recordings/train] held_out=[recordings/val]
out=outputs/nano
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import hydra
import torch
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from omegaconf import MISSING, DictConfig
from rich.console import Console
from torch import Tensor, nn

from data_tools.config import store, to_dict, to_object
from data_tools.provenance import current_commit
from data_tools.randomness import generator_for
from data_tools.whole_file import write_text
from worldmodel.precision import Device, Precision
from worldmodel.recordings import open_recordings
from worldmodel.representation.cache import FrameCache
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.kind import Kind
from worldmodel.representation.masked import MaskedCompletion, MaskedConfig
from worldmodel.representation.masters import MasterWeights
from worldmodel.representation.open import refuse_other
from worldmodel.representation.quality import measure
from worldmodel.representation.rae import RaeConfig, RaeRepresentation, encoder_of, with_statistics
from worldmodel.representation.stage import BETAS, StageConfig, run_stage
from worldmodel.representation.statistics import statistics_of
from worldmodel.tensor_file import hash_tensors


@dataclass(frozen=True, kw_only=True)
class DecoderTraining:
    """How the decoder learns to make frames of latents that are not quite right."""

    stage: StageConfig = field(default_factory=lambda: StageConfig(num_steps=4000, batch_size=128))
    noise_tau: float = 0.5
    """Largest deviation of the noise on normalised latents; each sample's is uniform in [0, noise_tau]."""
    gradient_weight: float = 1.0
    """Weight of the L1 error of differences between neighbouring pixels, which keeps edges sharp."""


@dataclass(frozen=True, kw_only=True)
class RepresentationConfig:
    """One training of a representation."""

    data: list[str] = MISSING
    """Folders of trajectories to train on."""
    held_out: list[str] = field(default_factory=list)
    """Folders of trajectories to report on; none of their frames is trained on."""
    out: str = MISSING
    """Folder of the result, of checkpoints and of the frame cache."""
    encoder: str | None = None
    """Folder of a representation whose encoder and statistics are kept: only the decoder is trained then,
    and all
    latents stay as they were. None trains an encoder of `shape`."""
    seed: int = 0
    device: Device = Device.cpu
    num_threads: int = 1
    precision: Precision = Precision.bfloat16
    shape: RaeConfig = field(default_factory=RaeConfig)
    masked: MaskedConfig = field(default_factory=MaskedConfig)
    masked_stage: StageConfig = field(
        default_factory=lambda: StageConfig(num_steps=3000, batch_size=128, learning_rate=1.5e-3)
    )
    decoder: DecoderTraining = field(default_factory=DecoderTraining)

    def __post_init__(self) -> None:
        """Refuse to report on what is trained on."""
        check_held_out(self.data, self.held_out)


def check_held_out(data: Sequence[str], held_out: Sequence[str]) -> None:
    """Raise ValueError if a folder is both trained on and held out."""
    if both := {Path(folder).resolve() for folder in data} & {Path(folder).resolve() for folder in held_out}:
        raise ValueError(
            f"needed other folders in held_out than in data, got {', '.join(map(str, sorted(both)))} in both"
        )


def train(config: RepresentationConfig) -> RaeRepresentation:
    """Run the three stages, write the representation to `config.out`, and return it as it was written."""
    torch.set_num_threads(config.num_threads)
    out = Path(config.out)
    refuse_other(out, Kind.rae.name)
    frames = open_frames(config.data, out / "cache", image_size=config.shape.image_size)
    if config.encoder is None:
        encoded = train_encoder(frames, config)
        on_device = encoded.in_precision(torch.float32, device=str(config.device.of_rank(0)))
        found = statistics_of(on_device, frames, generator=generator_for(config.seed, "data", rank=2))
        normalised = with_statistics(encoded, mean=found.mean, std=found.std)
    else:
        normalised = RaeRepresentation.load(Path(config.encoder))
        if normalised.config != config.shape:
            raise ValueError(
                f"{config.encoder} is {normalised.config}; set `shape` to that, it is {config.shape}"
            )
    representation = train_decoder(normalised, frames, config)
    # To the precision that weights are stored in; the encoder is in it already.
    nn.Module.to(representation.autoencoder.decoder, dtype=torch.bfloat16)
    representation = representation.in_precision(torch.float32)
    representation.save(out)
    return RaeRepresentation.load(out, device=str(config.device.of_rank(0)))


def train_encoder(frames: FrameCache, config: RepresentationConfig) -> RaeRepresentation:
    """Pretrain an encoder by masked completion; return it with an untrained decoder, in float32."""
    representation = RaeRepresentation.create(config.shape, generator=generator_for(config.seed, "init"))
    encoder = encoder_of(representation.autoencoder).requires_grad_(True)
    task = MaskedCompletion(encoder, config.masked, generator=generator_for(config.seed, "init", rank=1))
    stage, indices = config.masked_stage, frames.pair_starts(max_gap=config.masked.max_gap)
    if len(indices) == 0:
        raise ValueError(
            f"no trajectory has more than masked.max_gap = {config.masked.max_gap} frames; record longer ones"
        )
    device = config.device.of_rank(0)
    masters = MasterWeights(
        task.to(device), dtype=config.precision.dtype, weight_decay=stage.weight_decay, betas=BETAS
    )

    def draw_loss(generator: torch.Generator) -> Float[Tensor, ""]:
        first, second = draw_pairs(
            frames, indices, batch=stage.batch_size, max_gap=config.masked.max_gap, generator=generator
        )
        order = torch.rand(len(first), config.shape.num_tokens, generator=generator).argsort(dim=1)
        return task(first.to(device), second.to(device), order.to(device))

    name = f"encoder_{config.masked.views.name}"
    if others := [each.name for each in Path(config.out).glob("encoder_*.safetensors") if each.stem != name]:
        raise ValueError(
            f"{config.out} holds the training of another encoder, {others[0]}; give another `out`, or the "
            "`masked.views` that it was begun with"
        )
    run_stage(
        name,
        stage,
        masters,
        draw_loss,
        checkpoint=Path(config.out) / f"{name}.safetensors",
        generator=generator_for(config.seed, "data"),
        made_of=(config.seed, config.precision, config.shape, config.masked, frames.identity),
    )
    # To the precision that weights are stored in, before anything is measured on the latents.
    nn.Module.to(representation.autoencoder, device="cpu", dtype=torch.bfloat16)
    return representation.in_precision(torch.float32)


def draw_pairs(
    frames: FrameCache,
    indices: Int64[Tensor, " frame"],
    *,
    batch: int,
    max_gap: int,
    generator: torch.Generator,
) -> tuple[UInt8[Tensor, "batch height width 3"], UInt8[Tensor, "batch height width 3"]]:
    """Draw pairs of frames 1 to `max_gap` steps apart, in either order; half of all batches are mirrored."""
    earlier = indices[torch.randint(len(indices), (batch,), generator=generator)]
    later = earlier + torch.randint(1, max_gap + 1, (batch,), generator=generator)
    first, second = frames.at(earlier), frames.at(later)
    is_swapped, is_mirrored = (torch.rand(2, generator=generator) < 0.5).tolist()
    if is_swapped:
        first, second = second, first
    if is_mirrored:
        # A mirrored walk is a walk that could have been: left and right turns change places.
        first, second = first.flip(dims=[2]), second.flip(dims=[2])
    return first, second


def train_decoder(
    representation: RaeRepresentation, frames: FrameCache, config: RepresentationConfig
) -> RaeRepresentation:
    """Train the decoder on noisy latents of the frozen encoder; return the whole on the CPU in float32.

    Source: RAE (arXiv 2510.11690), section 3.3. There the noise is on the encoder's raw output and the loss
    has LPIPS and adversarial terms; here it is on normalised latents, where the flow model's errors are, and
    the loss is the L1 error of pixels and of their differences: no network of others is needed.
    """
    device = str(config.device.of_rank(0))
    working = representation.in_precision(config.precision.dtype, device=device)
    autoencoder, stage = working.autoencoder, config.decoder.stage
    autoencoder.decoder.requires_grad_(True)
    masters = MasterWeights(
        autoencoder.decoder, dtype=config.precision.dtype, weight_decay=stage.weight_decay, betas=BETAS
    )

    def draw_loss(generator: torch.Generator) -> Float[Tensor, ""]:
        indices = torch.randint(len(frames.frames), (stage.batch_size,), generator=generator)
        batch = frames.at(indices).to(device)
        latents = working.encode(batch)
        sigma = config.decoder.noise_tau * torch.rand(len(batch), 1, 1, generator=generator)
        noise = torch.randn(latents.shape, generator=generator) * sigma
        noisy = (latents + noise.to(latents)).to(config.precision.dtype)
        target = rearrange(batch, "batch height width rgb -> batch rgb height width").float() / 255
        made = autoencoder.decode(noisy, return_dict=False)[0].float()
        return reconstruction_loss(made, target, gradient_weight=config.decoder.gradient_weight)

    run_stage(
        "decoder",
        stage,
        masters,
        draw_loss,
        checkpoint=Path(config.out) / "decoder.safetensors",
        generator=generator_for(config.seed, "noise"),
        made_of=(
            *(config.seed, config.precision, config.shape, config.decoder.noise_tau),
            *(config.decoder.gradient_weight, frames.identity, representation.fingerprint),
            # A decoder of its own is drawn from the seed; that of a given representation is its own.
            *(
                ()
                if config.encoder is None
                else (hash_tensors(representation.autoencoder.decoder.state_dict()),)
            ),
        ),
    )
    trained = representation.in_precision(torch.float32)
    trained.autoencoder.decoder.load_state_dict(autoencoder.decoder.state_dict())
    return trained


def reconstruction_loss(
    made: Float[Tensor, "batch channel height width"],
    target: Float[Tensor, "batch channel height width"],
    *,
    gradient_weight: float,
) -> Float[Tensor, ""]:
    """Return the L1 error of pixels plus that of differences to the right and downward neighbours."""
    error = made - target
    along_rows, along_columns = error.diff(dim=3).abs().mean(), error.diff(dim=2).abs().mean()
    return error.abs().mean() + gradient_weight * 0.5 * (along_rows + along_columns)


def open_frames(folders: Sequence[str], cache: Path, *, image_size: int) -> FrameCache:
    """Return the frames of all trajectories in these folders; what cannot be read is named and counted."""
    return FrameCache.build(open_recordings(folders), cache, image_size=image_size)


def report_on(
    representation: RaeRepresentation | CodecRepresentation, data: Mapping[str, Sequence[str]], out: Path
) -> None:
    """Measure a representation on each set of recordings; print and write figures, and reconstructions."""
    report: dict[str, object] = {"fingerprint": representation.fingerprint, "commit": current_commit()}
    for name, folders in data.items():
        if folders:
            frames = open_frames(folders, out / "cache", image_size=representation.image_size)
            report[name] = asdict(
                measure(representation, frames, picture=out / f"reconstructions_{name}.png")
            )
    write_text(out / "report.json", json.dumps(report, indent=1))
    Console().print_json(data=report)


@hydra.main(version_base=None, config_path="../conf", config_name="representation")
def main(node: DictConfig) -> None:
    """Train, then write reconstructions and a report beside the result."""
    config = to_object(node, RepresentationConfig)
    representation = train(config)
    # Only now: a folder that holds another training refuses this one, and keeps its own configuration.
    write_text(Path(config.out) / "config.json", json.dumps(to_dict(config), indent=1))
    report_on(representation, {"train": config.data, "held_out": config.held_out}, Path(config.out))


store("representation_schema", RepresentationConfig)

if __name__ == "__main__":
    main()
