"""Laws of runs that Ray starts: a process that dies is started again, and the losses stay what they are."""

import json
import subprocess
import sys
from dataclasses import fields

import pytest

from tests.worldmodel.tiny_run import make_config, run
from worldmodel.launch_ray import RayConfig, launch
from worldmodel.precision import Device
from worldmodel.pretrain import run as pretrain
from worldmodel.pretrain_config import PretrainConfig


def ray_config(out, **changes) -> RayConfig:
    config = make_config(out)
    return RayConfig(**({each.name: getattr(config, each.name) for each in fields(PretrainConfig)} | changes))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_workers": 0}, "num_workers and cpus_per_worker of at least 1"),
        ({"max_failures": -2}, "max_failures of at least -1, got 2, 1 and -2"),
        (
            {"use_gpu": True},
            "use_gpu=True does not go with device=cpu; give use_gpu=true device=cuda, or neit",
        ),
        ({"device": Device.cuda}, "use_gpu=False does not go with device=cuda"),
    ],
)
def test_impossible_launches_are_refused_before_ray_starts(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        launch(ray_config(tmp_path, **changes), pretrain)


@pytest.mark.slow
def test_ray_starts_a_dead_process_again_and_the_losses_are_those_of_an_undisturbed_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.worldmodel.ray_run", str(tmp_path / "ray")],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "ray" / "died").exists()
    run(tmp_path / "alone")
    found, expected = (
        [json.loads(line)["total"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("ray", "alone")
    )
    assert len(found) == 10
    assert found == pytest.approx(expected, rel=5e-3)
