"""Arguments of benchmarks, and configurations as the commands compose them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

import planners
from data_tools.config import to_object
from planners.demo import DemoConfig
from planners.evaluation.closed_loop import ClosedLoopConfig
from planners.evaluation.open_loop import OpenLoopConfig

CONFIG_TYPES = {"open_loop": OpenLoopConfig, "closed_loop": ClosedLoopConfig, "demo": DemoConfig}


def compose_planners(name: str, *overrides: str) -> Any:
    """Return the configuration of a command of `planners`, with overrides as on its command line."""
    with initialize_config_dir(str(Path(planners.__file__).parent / "conf"), version_base=None):
        return to_object(compose(name, overrides=list(overrides)), CONFIG_TYPES[name])


def read_arguments(given: Sequence[str], **defaults: str) -> dict[str, str]:
    """Return `key=value` arguments over their defaults; SystemExit names what is not known."""
    settings = dict(argument.split("=", 1) for argument in given if "=" in argument)
    unknown = [
        argument for argument in given if argument.split("=", 1)[0] not in defaults or "=" not in argument
    ]
    if unknown:
        known = ", ".join(f"{name}={value}" for name, value in defaults.items())
        raise SystemExit(f"known are {known}; got {', '.join(unknown)}")
    return {**defaults, **settings}
