"""The presets are what they say, and the command prints it."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from data_tools.config import to_object
from tests.architecture import ROOT
from tests.test_configurations import composed
from worldmodel.describe import DescribeConfig, Description, describe
from worldmodel.feedforward import ExpertsConfig, SharedExperts
from worldmodel.sizes import Parameters, count_parameters, on_meta


def described(*overrides: str) -> Description:
    return describe(to_object(composed("worldmodel/conf/describe.yaml", overrides), DescribeConfig))


def test_the_papers_model_has_its_published_sizes():
    """arXiv 2603.03276: 13.5 B total and 1.5 B active with 256 experts, 2.3 B and 1.5 B without."""
    experts = described("preset=paper")
    assert experts.num_experts == 256
    assert experts.parameters_total == pytest.approx(13.5e9, rel=0.01)
    assert experts.parameters_active == pytest.approx(1.5e9, rel=0.02)
    assert experts.expert_hidden == 512
    assert experts.tokens_per_step == pytest.approx(2.1e6, rel=0.01)
    per_modality = described("preset=paper", "model.feedforward=per_modality")
    assert per_modality.parameters_total == pytest.approx(2.3e9, rel=0.01)
    assert per_modality.parameters_active == pytest.approx(1.5e9, rel=0.02)
    shared = described("preset=paper", "model.feedforward=shared")
    assert shared.parameters_total == shared.parameters_active == pytest.approx(1.5e9, rel=0.02)
    assert (shared.num_experts, shared.expert_hidden) == (0, 0)


@pytest.mark.parametrize(("num_experts", "total"), [(32, 2.3e9), (256, 13.5e9), (1008, 51.5e9)])
@pytest.mark.parametrize("shared", list(SharedExperts))
def test_the_papers_sweep_of_total_experts(num_experts, total, shared):
    """arXiv 2603.03276: 16 of 512 units work for a token, whatever the number of experts."""
    counted = counted_experts(16, num_experts=num_experts, shared=shared)
    assert counted.total == pytest.approx(total, rel=0.01)
    assert counted.active_text == counted.active_image == pytest.approx(1.5e9, rel=0.03)


@pytest.mark.parametrize("granularity", [1, 4, 16, 32, 64])
def test_the_papers_sweep_of_granularity_has_equal_sizes(granularity):
    counted = counted_experts(granularity, shared=SharedExperts.none)
    assert counted.total == pytest.approx(13.5e9, rel=0.01)
    # The router grows with the number of experts: at granularity 64 it has 34 M parameters.
    assert counted.active_image == pytest.approx(1.5e9, rel=0.035)


def test_the_preset_of_the_paper_is_granularity_16_with_an_expert_for_each_modality():
    config = to_object(composed("worldmodel/conf/describe.yaml", ("preset=paper",)), DescribeConfig)
    assert config.model.experts == ExpertsConfig.of_granularity(16, width=2048, num_experts=256)


def counted_experts(granularity: int, **settings: Any) -> Parameters:
    config = to_object(composed("worldmodel/conf/describe.yaml", ("preset=paper",)), DescribeConfig)
    experts = ExpertsConfig.of_granularity(granularity, width=config.model.width, **settings)
    model = on_meta(
        replace(config.model, experts=experts), vocab_size=config.vocab_size, latent_channels=1152
    )
    return count_parameters(model)


def test_nano_is_the_model_that_ships():
    assert described().parameters_total == 3_647_040


def test_an_encoder_to_understand_with_widens_the_way_in():
    wider = described("context_channels=32").parameters_total - described().parameters_total
    assert wider == 32 * 192


def test_presets_grow():
    sizes = [described(f"preset={name}").parameters_total for name in ("nano", "small", "base", "paper")]
    assert sizes == sorted(sizes)


def test_a_context_is_held_once_whatever_the_number_of_candidates():
    few, many = described("num_candidates=2"), described("num_candidates=200")
    assert few.plan_context_bytes == many.plan_context_bytes
    assert many.plan_candidate_bytes == 100 * few.plan_candidate_bytes


def test_latents_of_unknown_shape_are_refused():
    with pytest.raises(ValueError, match="needed latents_per_frame and latent_channels"):
        described("latent_channels=null")


def test_the_command_prints_json():
    command = [sys.executable, "-m", "worldmodel.describe", "preset=small", "num_rows=2"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(printed.stdout)["tokens_per_step"] == 1024
