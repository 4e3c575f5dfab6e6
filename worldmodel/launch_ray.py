"""Pretraining under Ray: `python -m worldmodel.launch_ray num_workers=2 out=FOLDER data=FOLDER ...`.

Ray Train starts the processes, on one machine or on the cluster at `address`, and starts them again when one
dies: they go on from the last checkpoint in `out`, which must be on a disk that all machines share. Every
setting of `worldmodel.pretrain` can be given too. `torchrun` does the same without Ray (ranks.py).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from data_tools.config import schema, store, to_dict, to_object
from worldmodel.precision import Device
from worldmodel.pretrain import run
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.ranks import Ranks, noticing_lost_ranks


@dataclass(frozen=True, kw_only=True)
class RayConfig(PretrainConfig):
    """A pretraining run, and how many processes Ray starts of it, where, and how often again."""

    num_workers: int = 2
    use_gpu: bool = False
    """Whether each process gets a GPU; needs device=cuda."""
    cpus_per_worker: int = 1
    address: str | None = None
    """Address of a cluster (`auto` for the one this machine is part of); None starts Ray on this machine."""
    max_failures: int = 3
    """How often the processes are started again after one died; -1 for ever."""


def launch(config: RayConfig, work: Callable[[PretrainConfig, Ranks], None]) -> None:
    """Run `work` in the processes that Ray starts, again after failures; RuntimeError if all failed."""
    if config.num_workers < 1 or config.cpus_per_worker < 1 or config.max_failures < -1:
        raise ValueError(
            "needed num_workers and cpus_per_worker of at least 1 and max_failures of at least -1, got "
            f"{config.num_workers}, {config.cpus_per_worker} and {config.max_failures}"
        )
    if config.use_gpu != (config.device is Device.cuda):
        raise ValueError(
            f"use_gpu={config.use_gpu} does not go with device={config.device.value}; give use_gpu=true "
            "device=cuda, or neither"
        )
    # Ray reads these when it is imported: its second version starts whole groups again, and a niceness of
    # 15, which its workers would get, starves on a machine that does other work.
    os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray  # noqa: PLC0415 - training must import without it
    from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
    from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415
    from ray.train.v2.api.exceptions import TrainingFailedError  # noqa: PLC0415

    out = Path(config.out).absolute()
    settings: dict[str, Any] = {each.name: getattr(config, each.name) for each in fields(PretrainConfig)}
    content = to_dict(PretrainConfig(**{**settings, "out": str(out)}))
    # Workers find the same modules as this process.
    paths = os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH"))))
    ray.init(
        address=config.address,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
        include_dashboard=False if config.address is None else None,
        # What its own actors say of themselves; errors and the output of the run are shown.
        logging_config=ray.LoggingConfig(log_level="ERROR"),
    )
    trainer = TorchTrainer(
        _work,
        train_loop_config={"config": content, "work": work},
        torch_config=TorchConfig(
            backend="cpu:gloo,cuda:nccl" if config.use_gpu else "gloo", timeout_s=int(config.ranks_timeout_s)
        ),
        scaling_config=ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": config.cpus_per_worker} | ({"GPU": 1} if config.use_gpu else {}),
        ),
        run_config=RunConfig(
            name="ray", storage_path=str(out), failure_config=FailureConfig(max_failures=config.max_failures)
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise RuntimeError(
            f"the processes failed {config.max_failures + 1} times, the last time with: {error}. "
            "Nothing is lost: the same command goes on from the last checkpoint"
        ) from error
    finally:
        ray.shutdown()


def _work(given: dict[str, Any]) -> None:
    """Do one process' part: its rank is that of the process group that Ray has made."""
    work, node = given["work"], OmegaConf.merge(schema(PretrainConfig), given["config"])
    assert isinstance(node, DictConfig)
    config = to_object(node, PretrainConfig)
    with noticing_lost_ranks(timeout_s=config.ranks_timeout_s) as ranks:
        work(config, ranks)


store("launch_ray_schema", RayConfig)


@hydra.main(config_path="conf", config_name="launch_ray", version_base=None)
def main(node: DictConfig) -> None:
    """Run the configured pretraining under Ray."""
    launch(to_object(node, RayConfig), run)


if __name__ == "__main__":
    main()
