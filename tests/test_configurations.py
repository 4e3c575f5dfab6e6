"""Every YAML of the packages composes onto its schema, and a misspelled key stops the run."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig

import data_tools.convert
import data_tools.export_lerobot
import data_tools.index
import data_tools.split
import data_tools.statistics
import envs.camera
import envs.collect
import envs.prove
import planners.calibrate
import planners.demo
import planners.evaluation.closed_loop
import planners.evaluation.compare
import planners.evaluation.draft_refine
import planners.evaluation.few_steps
import planners.evaluation.open_loop
import planners.evaluation.prediction
import planners.evaluation.rank
import planners.evaluation.score
import planners.prior
import worldmodel.ablate
import worldmodel.describe
import worldmodel.distill
import worldmodel.evaluation.coco_fid
import worldmodel.evaluation.dpg_bench
import worldmodel.evaluation.flow_loss
import worldmodel.evaluation.frechet_distance
import worldmodel.evaluation.geneval
import worldmodel.evaluation.perplexity
import worldmodel.evaluation.questions
import worldmodel.evaluation.vqa
import worldmodel.evaluation.wise
import worldmodel.finetune
import worldmodel.generate
import worldmodel.launch_ray
import worldmodel.pretrain
import worldmodel.representation.cache_latents
import worldmodel.representation.import_pretrained
import worldmodel.representation.make_pixels
import worldmodel.representation.pair
import worldmodel.representation.probe
import worldmodel.representation.statistics
import worldmodel.representation.train
import worldmodel.representation.train_vae
import worldmodel.routing
from data_tools.config import to_dict, to_object
from data_tools.mixture import MixtureConfig
from planners.search import SearchMethod, make_planner
from tests.architecture import PACKAGES, ROOT
from worldmodel.pretrain_config import PretrainConfig

PRETRAIN = ("data=d", "text=t", "representation=r", "out=o")

COMMANDS: dict[str, tuple[ModuleType, type, Sequence[str]]] = {
    "data_tools/conf/convert.yaml": (
        data_tools.convert,
        data_tools.convert.ConvertConfig,
        ("source=nwm", "data=d", "out=o"),
    ),
    "data_tools/conf/index.yaml": (
        data_tools.index,
        data_tools.index.IndexCommand,
        ("data=d", "out=o", "kinds=[time,navigation]", "index.goal_s=4"),
    ),
    "data_tools/conf/split.yaml": (
        data_tools.split,
        data_tools.split.SplitCommand,
        ("data=d", "out=o", "by=region"),
    ),
    "data_tools/conf/statistics.yaml": (
        data_tools.statistics,
        data_tools.statistics.StatisticsCommand,
        ("data=d", "horizons_s=[1,2]"),
    ),
    "data_tools/conf/export_lerobot.yaml": (
        data_tools.export_lerobot,
        data_tools.export_lerobot.ExportConfig,
        ("data=d", "out=o"),
    ),
    "envs/conf/camera.yaml": (envs.camera, envs.camera.CameraConfig, ()),
    "envs/conf/collect.yaml": (envs.collect, envs.collect.CollectConfig, ("out=o", "seed=1")),
    "envs/conf/prove.yaml": (envs.prove, envs.prove.ProveConfig, ()),
    "planners/conf/calibrate.yaml": (
        planners.calibrate,
        planners.calibrate.CalibrateCommand,
        ("checkpoint=c",),
    ),
    "planners/conf/closed_loop.yaml": (
        planners.evaluation.closed_loop,
        planners.evaluation.closed_loop.ClosedLoopConfig,
        ("out=o",),
    ),
    "planners/conf/compare.yaml": (
        planners.evaluation.compare,
        planners.evaluation.compare.CompareConfig,
        ("first=a", "second=b"),
    ),
    "planners/conf/demo.yaml": (planners.demo, planners.demo.DemoConfig, ()),
    "planners/conf/draft_refine.yaml": (
        planners.evaluation.draft_refine,
        planners.evaluation.draft_refine.DraftRefineConfig,
        ("out=o",),
    ),
    "planners/conf/few_steps.yaml": (
        planners.evaluation.few_steps,
        planners.evaluation.few_steps.FewStepsConfig,
        ("out=o",),
    ),
    "planners/conf/open_loop.yaml": (
        planners.evaluation.open_loop,
        planners.evaluation.open_loop.OpenLoopConfig,
        ("out=o",),
    ),
    "planners/conf/prediction.yaml": (
        planners.evaluation.prediction,
        planners.evaluation.prediction.PredictionConfig,
        ("checkpoint=c", "data=d", "out=o"),
    ),
    "planners/conf/prior.yaml": (planners.prior, planners.prior.PriorCommand, ()),
    "planners/conf/rank.yaml": (
        planners.evaluation.rank,
        planners.evaluation.rank.RankConfig,
        ("data=d", "proposals=p", "out=o"),
    ),
    "planners/conf/score.yaml": (
        planners.evaluation.score,
        planners.evaluation.score.ScoreConfig,
        ("planned=p", "truth=t"),
    ),
    "worldmodel/conf/ablate.yaml": (
        worldmodel.ablate,
        worldmodel.ablate.AblateConfig,
        ("table=feedforward", "data=d", "text=t", "out=o", "num_tokens=1000"),
    ),
    "worldmodel/conf/cache_latents.yaml": (
        worldmodel.representation.cache_latents,
        worldmodel.representation.cache_latents.CacheConfig,
        ("representation=r", "data=d"),
    ),
    "worldmodel/conf/coco_fid.yaml": (
        worldmodel.evaluation.coco_fid,
        worldmodel.evaluation.coco_fid.CocoConfig,
        ("data=d", "out=o", "photos=p"),
    ),
    "worldmodel/conf/adapt.yaml": (
        worldmodel.pretrain,
        PretrainConfig,
        ("start=nano", "data=d", "text=t", "out=o"),
    ),
    "worldmodel/conf/describe.yaml": (worldmodel.describe, worldmodel.describe.DescribeConfig, ()),
    "worldmodel/conf/distill.yaml": (
        worldmodel.distill,
        worldmodel.distill.DistillConfig,
        ("teacher=t", "data=d", "text=t", "out=o"),
    ),
    "worldmodel/conf/dpg_bench.yaml": (
        worldmodel.evaluation.dpg_bench,
        worldmodel.evaluation.dpg_bench.DpgConfig,
        ("data=d", "out=o"),
    ),
    "worldmodel/conf/finetune.yaml": (
        worldmodel.finetune,
        worldmodel.finetune.FinetuneConfig,
        ("model=m", "data=d", "out=o"),
    ),
    "worldmodel/conf/flow_loss.yaml": (
        worldmodel.evaluation.flow_loss,
        worldmodel.evaluation.flow_loss.FlowLossConfig,
        ("model=m", "data=d", "out=o"),
    ),
    "worldmodel/conf/frechet_distance.yaml": (
        worldmodel.evaluation.frechet_distance,
        worldmodel.evaluation.frechet_distance.FrechetConfig,
        ("model=m", "data=d", "out=o"),
    ),
    "worldmodel/conf/generate.yaml": (
        worldmodel.generate,
        worldmodel.generate.GenerateConfig,
        ("task=draw", "texts=[t]"),
    ),
    "worldmodel/conf/geneval.yaml": (
        worldmodel.evaluation.geneval,
        worldmodel.evaluation.geneval.GenEvalConfig,
        ("data=d", "out=o"),
    ),
    "worldmodel/conf/import_pretrained.yaml": (
        worldmodel.representation.import_pretrained,
        worldmodel.representation.import_pretrained.ImportConfig,
        ("kind=siglip2", "out=o"),
    ),
    "worldmodel/conf/launch_ray.yaml": (worldmodel.launch_ray, worldmodel.launch_ray.RayConfig, PRETRAIN),
    "worldmodel/conf/make_pixels.yaml": (
        worldmodel.representation.make_pixels,
        worldmodel.representation.make_pixels.MakePixels,
        ("data=[d]", "out=o"),
    ),
    "worldmodel/conf/pair.yaml": (
        worldmodel.representation.pair,
        worldmodel.representation.pair.PairConfig,
        ("understanding=u", "generation=g", "out=o"),
    ),
    "worldmodel/conf/perplexity.yaml": (
        worldmodel.evaluation.perplexity,
        worldmodel.evaluation.perplexity.PerplexityConfig,
        ("model=m", "data=[d]", "out=o"),
    ),
    "worldmodel/conf/pretrain.yaml": (worldmodel.pretrain, PretrainConfig, PRETRAIN),
    "worldmodel/conf/probe.yaml": (
        worldmodel.representation.probe,
        worldmodel.representation.probe.ProbeConfig,
        ("train=[t]", "held_out=[h]", "out=o"),
    ),
    "worldmodel/conf/questions.yaml": (
        worldmodel.evaluation.questions,
        worldmodel.evaluation.questions.QuestionsConfig,
        ("model=m", "out=o"),
    ),
    "worldmodel/conf/representation.yaml": (
        worldmodel.representation.train,
        worldmodel.representation.train.RepresentationConfig,
        ("data=[d]", "out=o"),
    ),
    "worldmodel/conf/routing.yaml": (
        worldmodel.routing,
        worldmodel.routing.RoutingConfig,
        ("model=m", "data=d", "text=t", "out=o"),
    ),
    "worldmodel/conf/statistics.yaml": (
        worldmodel.representation.statistics,
        worldmodel.representation.statistics.StatisticsConfig,
        ("representation=r", "data=[d]"),
    ),
    "worldmodel/conf/train_vae.yaml": (
        worldmodel.representation.train_vae,
        worldmodel.representation.train_vae.VaeTraining,
        ("data=[d]", "out=o"),
    ),
    "worldmodel/conf/vqa.yaml": (
        worldmodel.evaluation.vqa,
        worldmodel.evaluation.vqa.VqaConfig,
        ("data=d", "out=o", "photos=p"),
    ),
    "worldmodel/conf/wise.yaml": (
        worldmodel.evaluation.wise,
        worldmodel.evaluation.wise.WiseConfig,
        ("data=d", "out=o"),
    ),
}
"""Each named run with its command, its schema and what a user must say."""

GROUPS = {
    "planners/conf/nano/calibration.yaml",
    "planners/conf/nano/episodes.yaml",
    "planners/conf/nano/levels.yaml",
    "planners/conf/nano/prior.yaml",
    "planners/conf/nano/search.yaml",
    "worldmodel/conf/mixture/nano.yaml",
    "worldmodel/conf/mixture/paper.yaml",
    "worldmodel/conf/preset/base.yaml",
    "worldmodel/conf/preset/micro.yaml",
    "worldmodel/conf/preset/nano.yaml",
    "worldmodel/conf/preset/paper.yaml",
    "worldmodel/conf/preset/small.yaml",
    "worldmodel/conf/table/balancing.yaml",
    "worldmodel/conf/table/feedforward.yaml",
    "worldmodel/conf/table/granularity.yaml",
    "worldmodel/conf/table/num_experts.yaml",
    "worldmodel/conf/table/representation.yaml",
    "worldmodel/conf/table/shared_experts.yaml",
    "worldmodel/conf/table/synergy.yaml",
    "worldmodel/conf/table/weighing.yaml",
}
"""Parts of a run that are chosen by `group=name`, or that several runs share."""


def composed(yaml: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a named run as its command does."""
    path = ROOT / yaml
    with initialize_config_dir(str(path.parent), version_base=None):
        return compose(path.stem, overrides=list(overrides))


def pretrain(*overrides: str) -> PretrainConfig:
    return to_object(composed("worldmodel/conf/pretrain.yaml", (*PRETRAIN, *overrides)), PretrainConfig)


def test_every_yaml_is_tested():
    found = {path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.yaml")}
    assert found == {Path(yaml) for yaml in COMMANDS} | {Path(yaml) for yaml in GROUPS}


@pytest.mark.parametrize("yaml", COMMANDS)
def test_yaml_composes_onto_its_schema(yaml: str):
    _, config_type, overrides = COMMANDS[yaml]
    config = to_object(composed(yaml, overrides), config_type)
    assert to_dict(config)


@pytest.mark.parametrize("yaml", COMMANDS)
def test_misspelled_key_is_refused(yaml: str):
    _, _, overrides = COMMANDS[yaml]
    with pytest.raises(ConfigCompositionException, match="sede"):
        composed(yaml, (*overrides, "sede=1"))


def test_wrong_type_is_refused():
    with pytest.raises(ConfigCompositionException, match="num_steps"):
        pretrain("num_steps=many")


@pytest.mark.parametrize("method", list(SearchMethod))
def test_every_search_is_chosen_by_its_name(method: SearchMethod):
    yaml = "planners/conf/open_loop.yaml"
    overrides = (
        f"search.method={method.name}",
        "search.icem.num_candidates=40",
        "search.constraints=[no left turn,forward first]",
        "prior.parameterisation=steps",
    )
    config = to_object(composed(yaml, overrides), planners.evaluation.open_loop.OpenLoopConfig)
    assert config.search.method is method
    assert config.search.icem.num_candidates == 40 and config.search.icem.noise_exponent is None
    assert config.search.cem.num_candidates == 32, "nano's"
    assert config.search.constraints == ["no left turn", "forward first"]
    assert type(make_planner(config.search)).__name__.lower() == method.name.replace("_", "")
    agent = to_object(
        composed("planners/conf/closed_loop.yaml", (f"agent.method={method.name}",)),
        planners.evaluation.closed_loop.ClosedLoopConfig,
    ).agent
    assert agent.method is method


def test_a_constraint_that_is_not_understood_stops_the_run():
    node = composed("planners/conf/open_loop.yaml", ("search.constraints=[no loops]",))
    with pytest.raises(ValueError, match=r"'no loops' is not a constraint"):
        to_object(node, planners.evaluation.open_loop.OpenLoopConfig)


def test_mixtures_of_pretraining():
    assert pretrain().mixture == pretrain("mixture=nano").mixture == MixtureConfig()
    paper = MixtureConfig(text=50.0, image_text=22.5, video=25.0, action=2.5)
    assert pretrain("mixture=paper").mixture == paper
    assert pretrain("mixture=paper", "mixture.video=5").mixture.video == 5.0


def test_presets_of_pretraining():
    assert pretrain() == pretrain("preset=nano")
    for name in ("small", "base", "paper"):
        assert pretrain(f"preset={name}").model.width > pretrain().model.width
    paper = pretrain("preset=paper", "mixture.video=5")
    assert (paper.mixture.text, paper.mixture.video) == (50.0, 5.0)
    assert paper.objective.flow.shift(256 * 1152) == pytest.approx(8.485, abs=1e-3)
    assert pretrain("preset=small", "model.width=192").model.width == 192


def test_the_size_of_compared_models_can_be_chosen():
    """Not under a name that a group of files has: Hydra would look for it among the defaults."""
    node = composed("worldmodel/conf/ablate.yaml", ("table=synergy", "size=nano"))
    assert to_object(node, worldmodel.ablate.AblateConfig).size == "nano"


def test_unknown_mixture_names_those_that_exist():
    with pytest.raises(ConfigCompositionException) as caught:
        pretrain("mixture=papre")
    assert "nano" in str(caught.value.__cause__ or caught.value)


def test_settings_of_one_run_reach_both_evaluations_of_the_demo():
    node = composed("planners/conf/demo.yaml", ("out=elsewhere", "workers=3"))
    config = to_object(node, planners.demo.DemoConfig)
    assert (config.open_loop.out, config.closed_loop.out) == ("elsewhere", "elsewhere")
    assert config.open_loop.workers == config.closed_loop.workers == 3


def test_the_demo_plans_as_the_evaluations_do():
    demo = to_object(composed("planners/conf/demo.yaml", ()), planners.demo.DemoConfig)
    single = [
        to_object(composed(yaml, ()), COMMANDS[yaml][1])
        for yaml in ("planners/conf/open_loop.yaml", "planners/conf/closed_loop.yaml")
    ]
    shared = {"out", "num_problems", "num_episodes", "checkpoint", "workers"}
    for part, whole in zip((demo.open_loop, demo.closed_loop), single, strict=True):
        settings = [{k: v for k, v in to_dict(each).items() if k not in shared} for each in (part, whole)]
        assert settings[0] == settings[1]
