"""The command reads pictures and texts, and writes pictures and JSON."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.architecture import ROOT
from worldmodel.branching import FrameSampling
from worldmodel.generate import GenerateConfig, Task, generate
from worldmodel.generation import GenerationConfig
from worldmodel.generation.token_choice import TextSampling

SMALL = GenerationConfig(
    frame=FrameSampling(num_steps=1, guidance=1.0), text=TextSampling(max_tokens=6), max_frames=1
)
ACTION = "action: dx=+0.335, dy=-0.020, dyaw=+0.120, dt=0.26"


@pytest.fixture
def image(tmp_path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    path = tmp_path / "frame.png"
    Image.fromarray(pixels).save(path)
    return str(path)


def run(tmp_path, task: Task, **settings) -> list[dict[str, Any]]:
    config = GenerateConfig(task=task, out=str(tmp_path / "out"), generation=SMALL, **settings)
    return generate(config)


def test_each_task_of_the_model_that_ships(tmp_path, image):
    (captioned,) = run(tmp_path, Task.caption, images=[image])
    assert captioned["image"] == image and captioned["caption"]
    (asked,) = run(tmp_path, Task.question, images=[image], texts=["what is ahead?"])
    assert asked["answer"]
    (scored,) = run(
        tmp_path, Task.question, images=[image], texts=["what is ahead?"], answers=["a wall", "!?!?!?"]
    )
    assert scored["answer"] == "a wall" and set(scored["nats"]) == {"a wall", "!?!?!?"}
    (drawn,) = run(tmp_path, Task.draw, texts=["a corridor"])
    (edited,) = run(tmp_path, Task.edit, images=[image], texts=[ACTION])
    for each in (drawn, edited):
        with Image.open(tmp_path / "out" / each["picture"]) as picture:
            assert picture.size[0] == picture.size[1] > 0
    assert run(tmp_path, Task.interleave, images=[image], texts=["turn left"])


def test_what_a_task_lacks_is_said():
    with pytest.raises(ValueError, match=r"task=question got 1 images and 0 texts.*one text an image"):
        GenerateConfig(task=Task.question, images=["a.png"])
    with pytest.raises(ValueError, match="answers are for task=question"):
        GenerateConfig(task=Task.draw, texts=["a"], answers=["b"])


def test_images_of_two_sizes_are_refused(tmp_path, image):
    other = tmp_path / "other.png"
    Image.new("RGB", (20, 10)).save(other)
    with pytest.raises(ValueError, match=r"one size, got \[\(10, 20\), \(48, 64\)\]"):
        run(tmp_path, Task.caption, images=[image, str(other)])


def test_the_command_writes_json(tmp_path):
    command = [sys.executable, "-m", "worldmodel.generate", "task=draw", "texts=[a room]", f"out={tmp_path}"]
    settings = ["generation.frame.num_steps=1", "generation.frame.guidance=1"]
    subprocess.run([*command, *settings], cwd=ROOT, capture_output=True, check=True, timeout=120)
    content = json.loads((tmp_path / "generation.json").read_text())
    assert content["results"] == [{"text": "a room", "picture": "00.png"}]
    assert content["config"]["generation"]["frame"]["num_steps"] == 1
    assert (tmp_path / "00.png").is_file()
