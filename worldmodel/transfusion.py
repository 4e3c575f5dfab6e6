"""Transfusion: one decoder for text tokens and image latents (arXiv 2408.11039, 2603.03276).

Pre-norm blocks of grouped-query attention with QK-norm and rotary positions, and a feed-forward layer of one
of three kinds. Text enters by an embedding (a place-value embedding added for digits), latents by one linear
layer or a small U-Net (latent_io.py) with a time embedding added; out they go by the tied embedding and by
the counterpart of what they came in by.
"""

import math
from dataclasses import dataclass, field
from enum import Enum

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from worldmodel.attend import Attend
from worldmodel.attention import (
    Rotation,
    rotate,
    rotation_at,
)
from worldmodel.feedforward import (
    Experts,
    ExpertsConfig,
    FeedForwardKind,
    Linear,
    Modalities,
    PerModality,
    SwiGlu,
)
from worldmodel.latent_io import (
    LatentIo,
    LatentShape,
    UnetConfig,
    UnetInput,
    UnetOutput,
    as_generated,
    latent_layers,
)
from worldmodel.rms_norm import RmsNorm
from worldmodel.router import Balancing, Router, load_balance_loss
from worldmodel.tokenizer import NUM_PLACES
from worldmodel.waves import fourier_features, sinusoids


class ActionInput(Enum):
    """How the numbers of an action reach the model."""

    text = "text"  # the paper's way
    text_value = "text_value"  # the parsed value is added at a number's last token, as Fourier features


@dataclass(frozen=True, kw_only=True)
class TransfusionConfig:
    """Sizes of the transformer; nano takes them with `action_input` of conf/pretrain.yaml."""

    width: int = 192
    num_blocks: int = 6
    num_heads: int = 4
    num_kv_heads: int = 2
    feedforward: FeedForwardKind = FeedForwardKind.per_modality
    text_hidden: int = 256
    image_hidden: int = 512
    experts: ExpertsConfig = field(default_factory=ExpertsConfig)
    latent_io: LatentIo = LatentIo.linear
    unet: UnetConfig = field(default_factory=UnetConfig)
    """Of `latent_io=unet`."""
    action_input: ActionInput = ActionInput.text
    num_value_frequencies: int = 12
    tie_embeddings: bool = True
    """Whether text is scored by the matrix that embeds it; large vocabularies have one of their own."""
    rotary_base: float = 10_000.0
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.width % self.num_heads or (self.width // self.num_heads) % 8:
            raise ValueError(
                f"width {self.width} must be {self.num_heads} heads of a multiple of 8 channels; "
                "change width or num_heads"
            )
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} must be a multiple of num_kv_heads {self.num_kv_heads}"
            )

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.width // self.num_heads


@dataclass(frozen=True)
class TokenInputs:
    """What the transformer reads, one entry a token; what does not apply to a token's kind is ignored."""

    ids: Int[Tensor, "*batch token"]
    places: Int[Tensor, "*batch token"]
    values: Float[Tensor, "*batch token"]
    is_value: Bool[Tensor, "*batch token"]
    is_image: Bool[Tensor, "*batch token"]
    latents: Float[Tensor, "*batch token channel"]
    times: Float[Tensor, "*batch token"]
    positions: Int[Tensor, "*batch token 3"]


class Attention(nn.Module):
    """Grouped-query attention with QK-norm; how queries meet keys is the caller's."""

    def __init__(self, config: TransfusionConfig) -> None:
        super().__init__()
        head_dim = config.head_dim
        self.sizes = (
            config.num_heads * head_dim,
            config.num_kv_heads * head_dim,
            config.num_kv_heads * head_dim,
        )
        self.head_dim = head_dim
        self.query_key_value = Linear(config.width, sum(self.sizes))
        self.query_norm = RmsNorm(head_dim, config.norm_eps)
        self.key_norm = RmsNorm(head_dim, config.norm_eps)
        self.output = Linear(config.width, config.width)

    def forward(
        self,
        x: Float[Tensor, "*batch token width"],
        rotation: Rotation,
        attend: Attend,
        layer: int,
    ) -> Float[Tensor, "*batch token width"]:
        """Mix tokens."""
        query, key, value = (
            rearrange(part, "... token (head dim) -> ... token head dim", dim=self.head_dim)
            for part in self.query_key_value(x).split(self.sizes, dim=-1)
        )
        query = rotate(self.query_norm(query), rotation)
        key = rotate(self.key_norm(key), rotation)
        mixed = attend(layer, query, key, value)
        return self.output(rearrange(mixed, "... token head dim -> ... token (head dim)"))


class Block(nn.Module):
    """x + attention(norm x), then x + feedforward(norm x)."""

    def __init__(self, config: TransfusionConfig) -> None:
        super().__init__()
        self.attention_norm = RmsNorm(config.width, config.norm_eps)
        self.attention = Attention(config)
        self.feedforward_norm = RmsNorm(config.width, config.norm_eps)
        self.feedforward: SwiGlu | PerModality | Experts
        match config.feedforward:
            case FeedForwardKind.shared:
                self.feedforward = SwiGlu(config.width, config.image_hidden)
            case FeedForwardKind.per_modality:
                self.feedforward = PerModality(
                    config.width, text_hidden=config.text_hidden, image_hidden=config.image_hidden
                )
            case FeedForwardKind.experts:
                self.feedforward = Experts(config.width, config.experts)

    def forward(
        self,
        x: Float[Tensor, "*batch token width"],
        rotation: Rotation,
        attend: Attend,
        layer: int,
        modalities: Modalities,
    ) -> tuple[Float[Tensor, "*batch token width"], Float[Tensor, "2 expert"]]:
        """Return the output and the load of the experts (`router.load_of`), of which there may be 0."""
        x = x + self.attention(self.attention_norm(x), rotation, attend, layer)
        flat = self.feedforward_norm(x).reshape(-1, x.shape[-1])  # token width
        load = torch.zeros((2, 0), device=x.device)
        match self.feedforward:
            case SwiGlu():
                output = self.feedforward(flat)
            case PerModality():
                output = self.feedforward(flat, modalities)
            case Experts():
                output, load = self.feedforward(flat, modalities)
        return x + output.reshape(x.shape), load


class Transfusion(nn.Module):
    """The transformer: token inputs to hidden states, hidden states to logits or latents.

    Its weights are undefined until `initialise` draws them or a checkpoint is loaded. Latents that enter have
    `context_channels`, with which frames are looked at, and `latent_channels`, which are generated; where a
    frame enters with one of the two the other is 0. `latents_per_frame` is what the U-Net must know.
    """

    def __init__(
        self,
        config: TransfusionConfig,
        *,
        vocab_size: int,
        latent_channels: int,
        context_channels: int = 0,
        latents_per_frame: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.latent_channels, self.context_channels = latent_channels, context_channels
        self.channels_in = context_channels + latent_channels
        self._shape = LatentShape(
            latent_channels=latent_channels,
            context_channels=context_channels,
            latents_per_frame=latents_per_frame,
        )
        # torch's constructors draw from its global generator: the draws are overwritten, and it is put back.
        with torch.random.fork_rng(devices=[]):
            self._make_layers(vocab_size)

    def _make_layers(self, vocab_size: int) -> None:
        config = self.config
        self.text_embedding = nn.Embedding(vocab_size, config.width)
        self.place_embedding = nn.Embedding(NUM_PLACES, config.width)
        latent_input, latent_output = latent_layers(config.latent_io, config.width, self._shape, config.unet)
        self.latent_input = latent_input
        self.time_embedding = nn.Sequential(
            Linear(config.width, config.width), nn.SiLU(), Linear(config.width, config.width)
        )
        if config.action_input is ActionInput.text_value:
            self.value_input = Linear(2 * config.num_value_frequencies, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_blocks))
        self.final_norm = RmsNorm(config.width, config.norm_eps)
        if not config.tie_embeddings:
            self.text_output = Linear(config.width, vocab_size)
        self.latent_output = latent_output

    def initialise(self, *, generator: torch.Generator) -> "Transfusion":
        """Draw matrices from N(0, 1/fan_in), smaller where they write to the residual, latent output 0.

        A zero latent output predicts the mean of normalised latents. Returns the model itself.
        """
        for module in self.modules():
            if isinstance(module, Router):
                module.reset()
        residual_scale = 1 / math.sqrt(2 * self.config.num_blocks)
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue  # norms start at one
            fan_in = parameter.shape[-2] if parameter.dim() == 3 else parameter.shape[-1]
            std = 0.02 if "embedding.weight" in name else 1 / math.sqrt(fan_in)
            # The matrices of routed experts are parameters themselves, without ".weight".
            if name.startswith("blocks") and name.removesuffix(".weight").endswith(".output"):
                std *= residual_scale
            if name == "latent_output.weight":
                std = 0.0
            with torch.no_grad():
                parameter.normal_(0, std, generator=generator)
        return self

    @property
    def has_balance_loss(self) -> bool:
        """Whether a loss keeps the load of experts even."""
        is_mixture = self.config.feedforward is FeedForwardKind.experts
        return is_mixture and self.config.experts.balancing is Balancing.loss

    def balance_loss(
        self, load: Float[Tensor, "layer 2 expert"], counts: Float[Tensor, "layer expert"]
    ) -> Float[Tensor, ""]:
        """Return the weighted load-balance loss of a part of a batch, given all tokens of each expert."""
        if not self.has_balance_loss:
            return load.new_zeros(())
        experts = self.config.experts
        return experts.balance_weight * load_balance_loss(load[:, 1], counts, top_k=experts.top_k)

    def rebalance(self, counts: Float[Tensor, "layer expert"]) -> None:
        """Move the biases of routers that have some, given each expert's tokens in the whole last batch."""
        for block, of_layer in zip(self.blocks, counts, strict=True):
            assert isinstance(block, Block)
            if isinstance(block.feedforward, Experts):
                block.feedforward.router.rebalance(of_layer, rate=self.config.experts.bias_rate)

    def forward(
        self,
        inputs: TokenInputs,
        attend: Attend,
        modalities: Modalities,
        *,
        dtype: torch.dtype = torch.float32,
        recompute: bool = False,
    ) -> tuple[Float[Tensor, "*batch token width"], Float[Tensor, "layer 2 expert"]]:
        """Return the normalised hidden states (in `dtype`) and the load of each layer's experts.

        `modalities` is `Modalities.of(inputs.is_image)`: its lengths depend on data, so a compiled model gets
        it from outside. With `recompute` only the inputs of blocks are kept for the backward pass, which
        computes the rest again (arXiv 1604.06174).
        """
        x = self.embed(inputs, modalities, dtype=dtype)
        rotation = rotation_at(
            inputs.positions, head_dim=self.config.head_dim, base=self.config.rotary_base, dtype=dtype
        )
        loads = []
        for layer, block in enumerate(self.blocks):
            arguments = (x, rotation, attend, layer, modalities)
            x, load = checkpoint(block, *arguments, use_reentrant=False) if recompute else block(*arguments)
            loads.append(load)
        return self.final_norm(x), torch.stack(loads)

    def embed(
        self, inputs: TokenInputs, modalities: Modalities, *, dtype: torch.dtype
    ) -> Float[Tensor, "*batch token width"]:
        """Embed text by token, place and (if configured) value; latents by their layer and their time."""
        text = self.text_embedding(inputs.ids) + self.place_embedding(inputs.places)
        if self.config.action_input is ActionInput.text_value:
            features = fourier_features(inputs.values, num_frequencies=self.config.num_value_frequencies)
            text = text + self.value_input(features) * inputs.is_value[..., None]
        time = self._embed_time(inputs.times, dtype=dtype)
        latents = inputs.latents.to(dtype)
        if isinstance(self.latent_input, UnetInput):
            image = self.latent_input.among_text(latents, time, modalities.image)
        else:
            image = self.latent_input(latents)
        return torch.where(inputs.is_image[..., None], image + time, text.to(dtype))

    def _embed_time(
        self, times: Float[Tensor, " *batch"], *, dtype: torch.dtype
    ) -> Float[Tensor, "*batch width"]:
        return self.time_embedding(sinusoids(times, width=self.config.width).to(dtype))

    def text_logits(self, hidden: Float[Tensor, "token width"]) -> Float[Tensor, "token vocabulary"]:
        """Score the next text token; float32, since the loss takes differences of large logits."""
        head = self.text_embedding if self.config.tie_embeddings else self.text_output
        return F.linear(hidden, head.weight.to(hidden.dtype)).float()

    def latents(
        self,
        hidden: Float[Tensor, "*batch width"],
        noised: Float[Tensor, "*batch channel"] | None = None,
        times: Float[Tensor, " *batch"] | None = None,
    ) -> Float[Tensor, "*batch channel"]:
        """Read out latents (or velocities, as the flow configuration says), in float32.

        The U-Net needs whole frames, one after another in `*batch`, with the generated channels and the times
        that they entered with: it makes the way in once more, which costs less than to keep it would.
        """
        if not isinstance(self.latent_output, UnetOutput):
            return self.latent_output(hidden).float()
        assert isinstance(self.latent_input, UnetInput)
        assert noised is not None and times is not None, "the U-Net reads what the frames entered with"
        entered = as_generated(noised, channels_in=self.channels_in).to(hidden.dtype)
        frame_times = times.flatten()[:: self.latent_input.latents_per_frame]
        time = self._embed_time(frame_times, dtype=hidden.dtype)
        return self.latent_output.after(self.latent_input, hidden, entered, time).float()
