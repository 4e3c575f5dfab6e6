"""Splits: what open and closed loop share: levels seen and unseen, their shards, what rows depend on."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from data_tools import config as configuration
from data_tools.provenance import installed_versions, source_hash
from planners.evaluation.records import Provenance, hash_with_code
from planners.evaluation.summary import Split
from planners.prior import PriorConfig

RUN_FIELDS = ("out", "workers")
"""Of a configuration, what says where and how fast, not what."""


@runtime_checkable
class EvaluationConfig(Protocol):
    """What the configurations of all evaluations have in common."""

    @property
    def seed(self) -> int:
        """That all that is drawn comes from."""
        ...

    @property
    def checkpoint(self) -> str | None:
        """A shipped model's name or a folder."""
        ...

    @property
    def num_shown(self) -> int:
        """Problems or episodes a split that the report shows."""
        ...

    @property
    def workers(self) -> int:
        """Ray workers."""
        ...

    @property
    def seen_levels(self) -> list[str]:
        """Levels of the model's training data."""
        ...

    @property
    def unseen_levels(self) -> list[str]:
        """Levels that no training frame came from."""
        ...

    @property
    def prior(self) -> PriorConfig:
        """What the prior is fitted on."""
        ...


def check_evaluation(config: EvaluationConfig) -> None:
    """Raise ValueError for what would mix training with evaluation, or evaluates nothing."""
    if min(config.workers, config.num_shown) < 0:
        raise ValueError(
            f"workers and num_shown must be at least 0; got {config.workers} and {config.num_shown}"
        )
    if not (config.seen_levels or config.unseen_levels):
        raise ValueError("seen_levels and unseen_levels are both empty: name a level to evaluate on")
    if both := sorted(set(config.seen_levels) & set(config.unseen_levels)):
        raise ValueError(f"levels are seen or unseen; both name {', '.join(both)}")
    check_apart(config, "prior", levels=config.prior.levels, seed=config.prior.seed)


def check_apart(config: EvaluationConfig, what: str, *, levels: Sequence[str], seed: int) -> None:
    """Raise ValueError where something is fitted on unseen levels or on the evaluated recordings."""
    if unseen := sorted(set(levels) & set(config.unseen_levels)):
        raise ValueError(
            f"{what}.levels names {', '.join(unseen)}, which unseen_levels names too; fit it elsewhere"
        )
    if seed == config.seed:
        raise ValueError(
            f"seed and {what}.seed are both {seed}: it would be fitted on what is evaluated; change one"
        )


def levels_of(config: EvaluationConfig, split: Split) -> list[str]:
    """Return the levels of a split."""
    match split:
        case Split.seen_levels:
            return config.seen_levels
        case Split.unseen_levels:
            return config.unseen_levels
        case Split.zero_shot | Split.held_out | Split.no_model:
            return []  # `OF_DATA_SETS`


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Some numbered items (trajectories, episodes) of one level."""

    split: Split
    level: str
    numbers: tuple[int, ...]
    """Of the items, counted level by level."""
    is_shown: bool
    """Whether the report shows one of them."""

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"{self.split.name}-{self.level}-{self.numbers[0]}"

    def item_name(self, number: int) -> str:
        """Return the name of an item, from which its random streams and its rows are named."""
        return f"{self.split.name}/{self.level}/{number}"


def cut_into_shards(config: EvaluationConfig, *, num_shards: int, items_per_shard: int) -> list[Shard]:
    """Go round and round the levels of each split until it has `num_shards` shards.

    More shards leave the first as they are. Those of one level stand together, so that a worker's caches
    serve again.
    """
    shards = []
    for split in Split:
        levels = levels_of(config, split)
        for number in range(num_shards if levels else 0):
            turn, level = divmod(number, len(levels))
            first = turn * items_per_shard
            shards.append(
                Shard(
                    split=split,
                    level=levels[level],
                    numbers=tuple(range(first, first + items_per_shard)),
                    is_shown=number < config.num_shown,
                )
            )
    return sorted(shards, key=lambda shard: (shard.split.name, shard.level))


def provenance_of(
    config: EvaluationConfig,
    *,
    checkpoint_hash: str | None,
    ignored: Collection[str],
    micro_batch: int,
    data: str | None = None,
) -> Provenance:
    """Return what all rows of a run share; its hash is over all that their numbers depend on.

    `ignored` are the fields of the configuration that say how many rows there are, or where something lies;
    `data` is the fingerprint of recordings that rows are made of.
    """
    described = {
        name: value
        for name, value in configuration.to_dict(config).items()
        if name not in {*RUN_FIELDS, *ignored}
    }
    made_of = {"config": described, "checkpoint": checkpoint_hash}
    if data is not None:
        made_of["data"] = data
    return Provenance(
        config_hash=hash_with_code(made_of),
        checkpoint=config.checkpoint,
        checkpoint_hash=checkpoint_hash,
        seed=config.seed,
        micro_batch=micro_batch,
        source_hash=source_hash(),
        versions=json.dumps(installed_versions(), sort_keys=True),
    )
