"""Prove: drive shortest paths in the running game (`python -m envs.prove levels=[map02,e1m1]`).

A map computed from a level's file says little until its paths have been driven. For each level this drives
the shortest-path follower from random places to random places, and prints the share that arrived and, for
what did not, where it came to a halt. It fails (exit code 1) if fewer than `min_arrived` arrive in a level;
`out=FILE` also writes the table as Markdown.
"""

from dataclasses import dataclass, field
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track
from rich.table import Table

from data_tools import config as configuration
from data_tools.randomness import numpy_generator_for
from envs.doom_engine import DoomEngine
from envs.episodes import Episode, EpisodeConfig, generate_episodes
from envs.follower import ShortestPathFollower
from envs.geodesic import WalkableMap
from envs.level_geometry import home_m, walkable_map
from envs.level_table import level_table, write_table
from envs.levels import LEVELS, check_level


@dataclass(frozen=True, kw_only=True)
class ProveConfig:
    """Which paths to drive, and which share of a level's must arrive."""

    seed: int = 0
    levels: list[str] = field(default_factory=lambda: list(LEVELS))
    num_paths: int = 20
    min_geodesic_m: float = 2.0
    max_geodesic_m: float = 30.0
    min_arrived: float = 0.95
    out: str | None = None

    def __post_init__(self) -> None:
        for level in self.levels:
            check_level(level)
        if self.num_paths < 1 or not self.levels:
            raise ValueError(f"needed a level and num_paths >= 1, got {self.levels} and {self.num_paths}")
        if not 0 <= self.min_arrived <= 1:
            raise ValueError(f"needed min_arrived in [0, 1], got {self.min_arrived}")


@dataclass(frozen=True, kw_only=True)
class Driven:
    """One path that was driven: whether it arrived, how long it was [m], and how it went."""

    episode: Episode
    arrived: bool
    length_m: float
    num_steps: int
    num_collisions: int
    end_m: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """All paths driven in one level."""

    level: str
    driven: tuple[Driven, ...]

    @property
    def arrived(self) -> float:
        """Share of the paths whose goal was reached and stopped at."""
        return float(np.mean([one.arrived for one in self.driven]))

    @property
    def collisions_per_step(self) -> float:
        """Share of the steps that a wall or a thing cut short; 0 if there were no steps."""
        num_steps = sum(one.num_steps for one in self.driven)
        return sum(one.num_collisions for one in self.driven) / num_steps if num_steps else 0.0

    @property
    def detour(self) -> float:
        """Length driven over length of the shortest path, the mean over the paths that arrived."""
        ratios = [one.length_m / one.episode.geodesic_m for one in self.driven if one.arrived]
        return float(np.mean(ratios)) if ratios else float("nan")


def prove_level(engine: DoomEngine, walkable: WalkableMap, config: ProveConfig) -> Proof:
    """Drive random shortest paths in the level that the engine plays."""
    episodes = generate_episodes(
        walkable,
        EpisodeConfig(
            min_geodesic_m=config.min_geodesic_m, max_geodesic_m=config.max_geodesic_m, min_view_m=0.0
        ),
        level=engine.level,
        num_episodes=config.num_paths,
        rng=numpy_generator_for(config.seed, f"prove/{engine.level}"),
        near_m=home_m(engine.level),
    )
    return Proof(
        level=engine.level, driven=tuple(drive_path(engine, walkable, episode) for episode in episodes)
    )


def drive_path(engine: DoomEngine, walkable: WalkableMap, episode: Episode) -> Driven:
    """Follow the shortest path of an episode until the follower stops, loses its way or runs out of steps."""
    follower = ShortestPathFollower(field=walkable.distance_field(np.array(episode.goal_pose[:2])))
    engine.teleport(np.array(episode.start_pose))
    length_m, num_steps, num_collisions, arrived = 0.0, 0, 0, False
    while num_steps < episode.max_steps and np.isfinite(follower.field.distance_m(engine.pose[:2])):
        action = follower.act(engine.pose)
        arrived = bool(action[3] > 0.5)
        if arrived:
            break
        motion = engine.step(action[:3].astype(np.float64))
        length_m += float(np.hypot(*motion.displacement[:2]))
        num_steps += 1
        num_collisions += motion.collided
    x_m, y_m, _ = engine.pose.tolist()
    return Driven(
        episode=episode,
        arrived=arrived,
        length_m=length_m,
        num_steps=num_steps,
        num_collisions=num_collisions,
        end_m=(x_m, y_m),
    )


def unproven_levels(proofs: list[Proof], *, min_arrived: float) -> list[str]:
    """Return the levels in which a smaller share than this of the paths arrived."""
    return [proof.level for proof in proofs if proof.arrived < min_arrived]


def proof_table(proofs: list[Proof]) -> Table:
    """Return a row a level, with where failures came to a halt [m]; the last row is over all paths."""
    table = level_table("level", "paths", "arrived", "collisions / step", "driven / shortest", "failures")
    for proof in proofs:
        failures = [
            f"{one.episode.episode_id}: ended at ({one.end_m[0]:.1f}, {one.end_m[1]:.1f})"
            for one in proof.driven
            if not one.arrived
        ]
        table.add_row(
            proof.level,
            str(len(proof.driven)),
            f"{proof.arrived:.1%}",
            f"{proof.collisions_per_step:.4f}",
            f"{proof.detour:.3f}",
            "; ".join(failures),
        )
    everything = Proof(level="all", driven=tuple(one for proof in proofs for one in proof.driven))
    table.add_row(
        everything.level,
        str(len(everything.driven)),
        f"{everything.arrived:.2%}",
        f"{everything.collisions_per_step:.4f}",
        f"{everything.detour:.3f}",
        "",
    )
    return table


@hydra.main(version_base=None, config_path="conf", config_name="prove")
def main(node: DictConfig) -> None:
    """Drive, print the table, and fail if too few paths arrived in a level."""
    config = configuration.to_object(node, ProveConfig)
    proofs = []
    with DoomEngine(config.levels[0]) as engine:
        for level in track(config.levels, description="driving"):
            if level != engine.level:
                engine.load_level(level)
            proofs.append(prove_level(engine, walkable_map(level), config))
    table = proof_table(proofs)
    Console().print(table)
    if config.out is not None:
        write_table(table, Path(config.out))
    unproven = unproven_levels(proofs, min_arrived=config.min_arrived)
    if unproven:
        raise SystemExit(f"fewer than {config.min_arrived:.0%} of the paths arrived in {', '.join(unproven)}")


configuration.store("prove_schema", ProveConfig)

if __name__ == "__main__":
    main()
