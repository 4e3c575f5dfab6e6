"""Public weights: decoders and autoencoders of others, from a folder or from the model hub.

Nothing that is read is executed: safetensors, JSON, and of PyTorch's own files tensors alone.
"""

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from einops import rearrange
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HFValidationError
from jaxtyping import Float
from torch import Tensor
from transformers import ViTMAEConfig

from worldmodel.representation.normalisation import MEAN_KEY, STD_KEY, Normalisation
from worldmodel.representation.public_rae import VIT_XL
from worldmodel.tensor_file import read_tensors

DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
SCALE_RAE_FILE = "model.pt"
DECODER_PREFIX = "decoder."

Got = TypeVar("Got")


@dataclass(frozen=True, eq=False)
class PublicDecoder:
    """A decoder's form, as `RAEDecoder` takes it, its weights, and statistics if they came with it."""

    form: dict[str, Any]
    weights: dict[str, Tensor]
    normalisation: Normalisation | None


def from_hub(source: str, option: str, get: Callable[[], Got]) -> Got:
    """Return what `get` gets of `source`; FileNotFoundError if that is no folder and not to be had."""
    try:
        return get()
    except OSError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FileNotFoundError(
            f"needed the weights {source}, which are no folder with what they should hold here and could not "
            f"be had from the model hub ({reason}). Where there is a connexion, fetch them by `hf download "
            f"{source} --local-dir FOLDER`, and give {option}=FOLDER"
        ) from error


def fetch(source: str, name: str) -> Path:
    """Return the path of a file of a folder or of a repository of the hub; OSError if it is not to be had."""
    if Path(source).is_dir():
        path = Path(source) / name
        if not path.is_file():
            raise FileNotFoundError(f"no {name} in {source}")
        return path
    try:
        return Path(hf_hub_download(source, name))
    except HFValidationError as error:
        raise FileNotFoundError(f"{source} is neither a folder nor a name of the hub") from error


def read_decoder(source: str, *, file: str | None) -> PublicDecoder:
    """Read a decoder in the form of `diffusers.AutoencoderRAE` or of Scale-RAE.

    OSError if the files are not to be had, ValueError if they are something else.
    """
    config = json.loads(fetch(source, "config.json").read_text(encoding="utf-8"))
    if config.get("_class_name") == "AutoencoderRAE":
        tensors = read_tensors(fetch(source, file or DIFFUSERS_FILE))
        return _of_diffusers(config, tensors)
    if config.get("model_type") == "vit_mae":
        return _of_scale_rae(config, _read_pickled(fetch(source, file or SCALE_RAE_FILE)))
    raise ValueError(
        f"needed a decoder as AutoencoderRAE or Scale-RAE write it, the configuration in {source} is of "
        f"{config.get('_class_name') or config.get('model_type')!r}"
    )


def _of_diffusers(config: Mapping[str, object], tensors: Mapping[str, Tensor]) -> PublicDecoder:
    weights = {
        name.removeprefix(DECODER_PREFIX): tensor
        for name, tensor in tensors.items()
        if name.startswith(DECODER_PREFIX)
    }
    common = {"qkv_bias": True, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}
    form = {name: config.get(name, common.get(name)) for name in VIT_XL}
    return PublicDecoder(form, weights, _published_statistics(tensors))


def _of_scale_rae(config: dict[str, Any], tensors: Mapping[str, Tensor]) -> PublicDecoder:
    """Rename the weights of attention: Scale-RAE's decoder is made of transformers' ViT-MAE blocks."""
    filled = ViTMAEConfig(**config)
    renamed = {
        "attention.attention.query": "attention.to_q",
        "attention.attention.key": "attention.to_k",
        "attention.attention.value": "attention.to_v",
        "attention.output.dense": "attention.to_out.0",
    }
    weights = {}
    for name, tensor in tensors.items():
        new = name.removeprefix("module.").removeprefix(DECODER_PREFIX)
        for theirs, ours in renamed.items():
            new = new.replace(theirs, ours)
        weights[new] = tensor
    return PublicDecoder({name: getattr(filled, name) for name in VIT_XL}, weights, None)


def _published_statistics(tensors: Mapping[str, Tensor]) -> Normalisation | None:
    """Return the statistics of RAE's own training, if there are any; where it left means out they are 0."""
    mean, std = tensors.get(MEAN_KEY), tensors.get(STD_KEY)
    if std is None or std.ndim < 3:
        return None
    deviations = _as_tokens(std)
    means = torch.zeros_like(deviations) if mean is None or mean.ndim < 3 else _as_tokens(mean)
    return Normalisation(means, deviations)


def _as_tokens(statistic: Float[Tensor, " *one channel row column"]) -> Float[Tensor, "token channel"]:
    channels, rows, columns = statistic.shape[-3:]
    maps = statistic.float().reshape(channels, rows, columns)  # a leading axis of one is dropped
    return rearrange(maps, "channel row column -> (row column) channel").contiguous()


def _read_pickled(path: Path) -> dict[str, Tensor]:
    """Read a PyTorch file of tensors; ValueError if it holds anything else."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"needed tensors alone in {path}, got something else: {first}") from error
    for name in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"needed a dictionary of tensors in {path}, got {type(content).__name__}")
    return content
