"""Model folder: what a trained world model is on disk, and how it is loaded.

`model.json` (configuration), `training.json` (what it was trained on), `model.safetensors` (weights),
`tokenizer.json` and `representation.safetensors`. The models that ship lie in `worldmodel/checkpoints/` and
are named by their folder.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data_tools.config import schema, to_dict, to_object
from worldmodel.checkpoint import read_json, write_folder
from worldmodel.flow import Prediction
from worldmodel.predictor import WorldModel
from worldmodel.representation.interface import Representation, sizes_of
from worldmodel.representation.open import load_representation
from worldmodel.tensor_file import read_tensors
from worldmodel.tokenizer import TextTokenizer
from worldmodel.training_record import FILE_NAME, TrainingRecord, to_json
from worldmodel.transfusion import Transfusion, TransfusionConfig

FORMAT = 1
REPRESENTATION = "representation.safetensors"
SHIPPED = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What the weights do not say; vocabulary and document form are part of it, through `format`."""

    format: int = FORMAT
    transfusion: TransfusionConfig = field(default_factory=TransfusionConfig)
    prediction: Prediction
    latent_channels: int
    context_channels: int = 0
    """Channels that frames are looked at with, if the representation has two encoders."""
    vocab_size: int
    vocabulary: str | None = None
    """Hash of the tokenizer; None in folders of before it was kept."""


def save_model(
    folder: Path,
    transfusion: Transfusion,
    tokenizer: TextTokenizer,
    representation: Representation,
    *,
    prediction: Prediction,
    record: TrainingRecord,
) -> None:
    """Write a model folder in bfloat16, whole or not at all."""
    config = ModelConfig(
        transfusion=transfusion.config,
        prediction=prediction,
        latent_channels=transfusion.latent_channels,
        context_channels=transfusion.context_channels,
        vocab_size=tokenizer.vocab_size,
        vocabulary=tokenizer.identity,
    )
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in transfusion.state_dict().items()}

    def write_rest(temporary: Path) -> None:
        tokenizer.save(temporary / "tokenizer.json")
        representation.save(temporary)

    texts = {"model.json": json.dumps(to_dict(config), indent=1), FILE_NAME: to_json(record)}
    write_folder(folder, {"model": weights}, texts, write_rest=write_rest)


def load_model(name: str | Path, *, dtype: torch.dtype = torch.float32) -> WorldModel:
    """Load a model folder, or a model that ships by its name (`nano`), to compute in `dtype`.

    ValueError if its parts are damaged, of another version, or not of one model.
    """
    folder = resolve(name)
    content = read_json(folder / "model.json")
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{folder} is a world model of format {content.get('format')}, this version reads {FORMAT}; "
            "install the version that wrote it, or train it anew"
        )
    try:
        merged = OmegaConf.merge(schema(ModelConfig), content)
        assert isinstance(merged, DictConfig)
        config = to_object(merged, ModelConfig)
    except OmegaConfBaseException as error:
        raise ValueError(
            f"{folder / 'model.json'} is not a configuration of this version: {error}"
        ) from error
    tokenizer, representation = TextTokenizer.load(folder / "tokenizer.json"), load_representation(folder)
    for part, unit, needed, came in (
        ("tokenizer.json", "tokens", config.vocab_size, tokenizer.vocab_size),
        (REPRESENTATION, "channels", config.latent_channels, representation.num_channels),
        (REPRESENTATION, "context channels", config.context_channels, representation.num_context_channels),
    ):
        if needed != came:
            raise ValueError(
                f"model.json in {folder} needs {needed} {unit}, {part} has {came}; fetch the folder again"
            )
    if config.vocabulary not in (None, tokenizer.identity):
        raise ValueError(
            f"{folder} needs the vocabulary {config.vocabulary}, that of tokenizer.json is "
            f"{tokenizer.identity}; fetch the folder again"
        )
    transfusion = Transfusion(config.transfusion, vocab_size=config.vocab_size, **sizes_of(representation))
    tensors = {name: tensor.float() for name, tensor in read_tensors(folder / "model.safetensors").items()}
    try:
        transfusion.load_state_dict(tensors)
    except RuntimeError as error:
        # torch names every key on a line of its own.
        reason = " ".join(str(error).split())
        raise ValueError(f"the weights in {folder} do not fit its model.json: {reason}") from error
    return WorldModel(transfusion, tokenizer, representation, prediction=config.prediction, dtype=dtype)


def resolve(name: str | Path) -> Path:
    """Return the folder of a model: a path that holds one, or the name of one that ships.

    ValueError if both are there: a folder in the working directory is not meant to hide what ships.
    """
    found = [folder for folder in (Path(name), SHIPPED / str(name)) if (folder / "model.json").is_file()]
    if len({folder.resolve() for folder in found}) > 1:
        raise ValueError(
            f"{name} is a model that ships and a folder in {Path.cwd()}; give the absolute path of the one "
            f"you mean: {' or '.join(str(folder.resolve()) for folder in found)}"
        )
    if found:
        return found[0]
    shipped = sorted(path.parent.name for path in SHIPPED.glob("*/model.json"))
    raise FileNotFoundError(f"no world model at {name}; give a folder with model.json, or one of {shipped}")
