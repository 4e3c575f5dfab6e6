"""Start: a run that begins with a trained model: its shape, vocabulary, prediction and weights."""

from dataclasses import replace
from typing import TypeVar

from worldmodel.predictor import WorldModel
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.trainer import Trainer

Run = TypeVar("Run", bound=PretrainConfig)


def shaped_as(config: Run, model: WorldModel) -> Run:
    """Return a configuration with the shape, vocabulary and prediction of a trained model."""
    flow = replace(config.objective.flow, prediction=model.prediction, loss_space=model.prediction)
    return replace(
        config,
        model=model.transfusion.config,
        vocab_size=model.tokenizer.vocab_size,
        objective=replace(config.objective, flow=flow),
    )


def begin_with(trainer: Trainer, model: WorldModel) -> None:
    """Give a run's network and its moving average the weights of a trained model of the same shape."""
    for network in (trainer.model, trainer.average):
        network.load_state_dict(model.transfusion.state_dict())
