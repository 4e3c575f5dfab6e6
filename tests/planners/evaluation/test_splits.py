"""What a run's rows depend on: fields that say where, how fast and how many are no part of it."""

from dataclasses import replace

from planners.evaluation import records
from planners.evaluation.open_loop import OpenLoopConfig
from planners.evaluation.splits import cut_into_shards, provenance_of
from planners.evaluation.summary import Split

CONFIG = OpenLoopConfig(checkpoint=None, seen_levels=["map02"], unseen_levels=["map01"])


def _hash(config: OpenLoopConfig, checkpoint_hash: str | None = None) -> str:
    found = provenance_of(config, checkpoint_hash=checkpoint_hash, ignored={"num_problems"}, micro_batch=1)
    return found.config_hash


def test_the_hash_sees_configuration_checkpoint_and_source(monkeypatch):
    base = _hash(CONFIG)
    assert _hash(replace(CONFIG, out="elsewhere", workers=7, num_problems=99)) == base
    assert _hash(replace(CONFIG, trajectory_frames=41)) != base
    assert _hash(CONFIG, checkpoint_hash="other") != base
    monkeypatch.setattr(records, "source_hash", lambda: "another source")
    assert _hash(CONFIG) != base


def test_a_split_without_levels_has_no_shards():
    shards = cut_into_shards(replace(CONFIG, unseen_levels=[]), num_shards=3, items_per_shard=2)
    assert {shard.split for shard in shards} == {Split.seen_levels}
    assert [shard.numbers for shard in shards] == [(0, 1), (2, 3), (4, 5)]
    assert [shard.is_shown for shard in shards] == [True, True, False]
    assert shards[1].item_name(2) == "seen_levels/map02/2"
