"""Camera: is what is seen a function of the pose? (`python -m envs.camera levels=[map01,e1m1]`).

Planning on a simulator, and every recording, rest on it. This walks, records poses and frames, comes back to
the poses in another order, and compares at 64 x 64: 10 to 25 grey levels mean a moving camera or a frame read
too early. This engine reaches 0.1, since teleports are good to half a millimetre; the command fails (exit
code 1) if the mean of a level is above `max_mean_difference`. `out=FILE` also writes the table as Markdown.
"""

from dataclasses import dataclass, field
from pathlib import Path

import hydra
import numpy as np
from jaxtyping import Float64, UInt8
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.progress import track

from data_tools import config as configuration
from data_tools.randomness import numpy_generator_for
from envs.doom_engine import DoomEngine
from envs.geodesic import WalkableMap
from envs.level_geometry import home_m, walkable_map
from envs.level_table import level_table, write_table
from envs.levels import LEVELS, check_level

_SIZE = 64
_STEPS_PER_WALK = 8


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """Which levels to check, in how many walks of 8 steps each, and what is good [grey levels of 255]."""

    seed: int = 0
    levels: list[str] = field(default_factory=lambda: list(LEVELS))
    num_walks: int = 20
    max_mean_difference: float = 1.0
    out: str | None = None

    def __post_init__(self) -> None:
        for level in self.levels:
            check_level(level)
        if self.num_walks < 1 or not self.levels:
            raise ValueError(f"needed a level and num_walks >= 1, got {self.levels} and {self.num_walks}")
        if not self.max_mean_difference >= 0:
            raise ValueError(f"needed max_mean_difference >= 0, got {self.max_mean_difference}")


def camera_errors(
    engine: DoomEngine, walkable: WalkableMap, *, num_walks: int, rng: np.random.Generator
) -> Float64[np.ndarray, " frame"]:
    """Return how much each recorded frame differs from the one at the same pose later.

    Args:
        engine: Plays the level; moved.
        walkable: The level's map.
        num_walks: Walks of 8 random steps, each from a random place of the home region.
        rng: Source of places, steps and the order of coming back.

    Returns:
        Mean absolute differences at 64 x 64 [grey levels of 255].
    """
    home = home_m(engine.level)
    recorded = []
    for _ in range(num_walks):
        place_m = walkable.sample(rng=rng, near_m=home)
        engine.teleport(np.append(place_m, rng.uniform(-np.pi, np.pi)))
        for _ in range(_STEPS_PER_WALK):
            engine.step(rng.uniform([0.0, -0.2, -0.5], [0.6, 0.2, 0.5]))
            recorded.append((engine.pose, _small(engine.frame())))
    errors = np.zeros(len(recorded))
    for index in rng.permutation(len(recorded)):
        pose, frame = recorded[index]
        engine.teleport(pose)
        errors[index] = np.abs(_small(engine.frame()).astype(float) - frame).mean()
    return errors


def _small(frame: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "64 64 3"]:
    return np.asarray(Image.fromarray(frame).resize((_SIZE, _SIZE), Image.Resampling.BOX))


@hydra.main(version_base=None, config_path="conf", config_name="camera")
def main(node: DictConfig) -> None:
    """Check the levels, print the mean and largest difference of each, and fail if one is too large."""
    config = configuration.to_object(node, CameraConfig)
    table = level_table("level", "frames", "mean difference", "largest")
    moving = []
    with DoomEngine(config.levels[0]) as engine:
        for level in track(config.levels, description="looking twice"):
            if level != engine.level:
                engine.load_level(level)
            errors = camera_errors(
                engine,
                walkable_map(level),
                num_walks=config.num_walks,
                rng=numpy_generator_for(config.seed, f"camera/{level}"),
            )
            table.add_row(level, str(len(errors)), f"{errors.mean():.2f}", f"{errors.max():.2f}")
            if errors.mean() > config.max_mean_difference:
                moving.append(level)
    Console().print(table)
    if config.out is not None:
        write_table(table, Path(config.out))
    if moving:
        raise SystemExit(
            f"frames at the same pose differ by more than {config.max_mean_difference} grey levels in "
            + ", ".join(moving)
        )


configuration.store("camera_schema", CameraConfig)

if __name__ == "__main__":
    main()
