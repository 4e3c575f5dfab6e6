"""Laws of tables: every arm is a run, equal where they are said to be equal, and known by its content."""

from dataclasses import replace

import pytest

from data_tools.config import to_object
from tests.test_configurations import composed
from worldmodel.ablate import AblateConfig
from worldmodel.ablation.glossary import meaning_of
from worldmodel.ablation.measures import MeasureConfig
from worldmodel.ablation.table import (
    CONFIGURATIONS,
    Arm,
    Budget,
    Representations,
    Run,
    Setting,
    TableConfig,
    runs_of,
)
from worldmodel.sizes import count_parameters, on_meta

TABLES = sorted(path.stem for path in (CONFIGURATIONS / "table").glob("*.yaml"))


def table_of(name: str) -> TableConfig:
    return to_object(composed("worldmodel/conf/ablate.yaml", [f"table={name}"]), AblateConfig).table


def runs(table: TableConfig, tmp_path, *, seeds=(0,), **changes) -> list[Run]:
    for name in ("rae", "vae", "pixels", "dual"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "representation.safetensors").write_bytes(name.encode())
    folders = {name: str(tmp_path / name) for name in ("rae", "vae", "pixels", "dual")}
    settings = dict(
        table=table,
        budget=Budget(num_tokens=10_000),
        data="d",
        text="t",
        representations=Representations(**folders),
        preset="micro",
        overrides=[],
        measure=MeasureConfig(),
    )
    return runs_of(Setting(**(settings | changes)), seeds=list(seeds))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", TABLES)
def test_every_arm_of_every_table_is_a_run_of_its_own(name, tmp_path):
    table = table_of(name)
    assert table.name == name and len(table.arms) > 1
    for measure in table.measures:
        assert meaning_of(measure).words
    made = runs(table, tmp_path, seeds=(3, 5))
    assert [(run.arm, run.seed) for run in made] == [
        (arm.name, seed) for seed in (3, 5) for arm in table.arms
    ]
    assert len({run.config_hash for run in made}) == len(made)
    for run in made:
        assert run.config.seed == run.seed and run.config.num_threads == 1


@pytest.mark.parametrize("size", ["micro", "nano"])
@pytest.mark.parametrize("name", ["feedforward", "granularity", "num_experts", "shared_experts"])
def test_arms_of_feed_forward_tables_have_equal_active_parameters(name, size, tmp_path):
    table = table_of(name)
    active = []
    for run in runs(table, tmp_path, preset=size):
        model = on_meta(run.config.model, vocab_size=run.config.vocab_size, latent_channels=128)
        counted = count_parameters(model)
        assert counted.active_text == counted.active_image
        routers = sum(each.numel() for key, each in model.named_parameters() if key.endswith("router.weight"))
        active.append(counted.active_text - routers)
    assert len(set(active)) == 1


def test_an_arm_without_a_kind_of_data_has_the_same_tokens_of_the_others(tmp_path):
    unified, *others = runs(table_of("synergy"), tmp_path)
    assert unified.budget.num_tokens is not None
    whole = {
        kind: share * unified.budget.num_tokens for kind, share in unified.config.mixture.token_shares.items()
    }
    for run in others:
        assert run.budget.num_tokens is not None
        own = {kind: share * run.budget.num_tokens for kind, share in run.config.mixture.token_shares.items()}
        if run.arm in ("captions", "questions"):
            assert run.budget == unified.budget
            continue
        assert own.keys() < whole.keys()
        for kind, tokens in own.items():
            assert tokens == pytest.approx(whole[kind])


def test_a_hash_knows_settings_and_representation_but_not_places(tmp_path):
    table = TableConfig(name="one", question="?", arms=[Arm(name="only")])
    (first,) = runs(table, tmp_path)
    (moved,) = runs(table, tmp_path, data="elsewhere", text="there")
    assert moved.config_hash == first.config_hash
    for changes in (
        dict(overrides=["model.width=64"]),
        dict(budget=Budget(num_tokens=9_999)),
        dict(measure=MeasureConfig(num_problems=7)),
    ):
        (other,) = runs(table, tmp_path, **changes)
        assert other.config_hash != first.config_hash
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "representation.safetensors").write_bytes(b"trained again")
    (other,) = runs(table, tmp_path, representations=Representations(rae=str(tmp_path / "other")))
    assert other.config_hash != first.config_hash


def test_a_representation_that_nobody_gave_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"representations\.vae=FOLDER"):
        runs(table_of("representation"), tmp_path, representations=Representations())


def test_bad_tables_and_budgets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="names of their own"):
        TableConfig(name="twice", arms=[Arm(name="a"), Arm(name="a")])
    with pytest.raises(ValueError, match="either num_tokens or num_steps"):
        Budget()
    misspelled = TableConfig(name="wrong", arms=[Arm(name="a", overrides=["model.witdh=64"])])
    with pytest.raises(ValueError, match="arm a of table wrong"):
        runs(misspelled, tmp_path)
    with pytest.raises(ValueError, match="more than full_weight"):
        runs(replace(table_of("synergy"), full_weight=90.0), tmp_path)


def test_a_share_of_a_budget_is_at_least_one():
    assert Budget(num_tokens=1000).times(0.25) == Budget(num_tokens=250)
    assert Budget(num_steps=3).times(0.01) == Budget(num_steps=1)
