"""`python -m tests.worldmodel.ray_run OUT`: `tiny_run` in two processes that Ray starts; one dies once."""

import os
import signal
import sys
from dataclasses import fields
from pathlib import Path

import worldmodel.pretrain
from tests.worldmodel.tiny_run import make_config, run
from worldmodel.launch_ray import RayConfig, launch
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.ranks import Ranks
from worldmodel.sharding import Sharding
from worldmodel.trainer import StepReport


def work(config: PretrainConfig, ranks: Ranks) -> None:
    """Train; the second rank dies in its sixth step, the first time."""
    mark = Path(config.out) / "died"
    train_step = worldmodel.pretrain.train_step

    def dying(trainer: object, *arguments: object, **options: object) -> StepReport:
        if ranks.rank == 1 and trainer.step == 5 and not mark.exists():  # pyright: ignore
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return train_step(trainer, *arguments, **options)  # pyright: ignore

    worldmodel.pretrain.train_step = dying
    settings = {each.name: getattr(config, each.name) for each in fields(PretrainConfig)}
    run(Path(settings.pop("out")), ranks=ranks, **settings)


if __name__ == "__main__":
    config = make_config(Path(sys.argv[1]), sharding=Sharding.fsdp)
    settings = {each.name: getattr(config, each.name) for each in fields(PretrainConfig)}
    launch(RayConfig(**settings, num_workers=2, max_failures=1), work)
