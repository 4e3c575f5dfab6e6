"""The presets are what they say, and the command prints it."""

import json
import subprocess
import sys

import pytest

from data_tools.config import to_object
from tests.architecture import ROOT
from tests.test_configurations import composed
from worldmodel.describe import DescribeConfig, Description, describe


def described(*overrides: str) -> Description:
    return describe(to_object(composed("worldmodel/conf/describe.yaml", overrides), DescribeConfig))


def test_the_papers_model_has_its_published_sizes():
    """arXiv 2603.03276: 13.5 B total and 1.5 B active with 256 experts, 2.3 B and 1.5 B without."""
    experts = described("preset=paper")
    assert experts.num_experts == 256
    assert experts.parameters_total == pytest.approx(13.5e9, rel=0.01)
    assert experts.parameters_active == pytest.approx(1.5e9, rel=0.02)
    dense = described("preset=paper", "model.feedforward=per_modality")
    assert dense.parameters_total == pytest.approx(2.3e9, rel=0.01)
    assert dense.parameters_active == pytest.approx(1.5e9, rel=0.02)
    assert experts.tokens_per_step == pytest.approx(2.1e6, rel=0.01)


def test_nano_is_the_model_that_ships():
    assert described().parameters_total == 3_647_040


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
