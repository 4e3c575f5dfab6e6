"""Scenes: pictures read back, and answers that a reader of the picture finds too."""

import numpy as np
import pytest

from tests.worldmodel.evaluation.fakes import answer, parse
from worldmodel.evaluation.scenes import (
    Scene,
    Thing,
    ask,
    draw_random,
    draw_scene,
    read_scene,
    things_in_common,
)


def scenes(count: int) -> list[Scene]:
    return [draw_random(rng=np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("size", [48, 64, 100])
def test_a_picture_is_read_back_as_its_scene(size):
    for scene in scenes(12):
        assert read_scene(draw_scene(scene, size=size)) == scene


def test_captions_say_all_there_is():
    for scene in scenes(12):
        assert parse(scene.caption) == scene


def test_every_kind_is_asked_and_answers_are_those_of_the_picture():
    kinds = set()
    for scene in scenes(30):
        for each in ask(scene, rng=np.random.default_rng(len(scene.things))):
            kinds.add(each.kind)
            assert each.answer == answer(read_scene(draw_scene(scene, size=64)), each.question)
    assert kinds == {"count", "presence", "colour", "shape", "place"}


def test_scenes_are_functions_of_the_stream_and_differ():
    assert scenes(20) == scenes(20)
    assert len(set(scenes(20))) > 15
    assert {len(scene.things) for scene in scenes(40)} == {1, 2, 3, 4}


def test_common_things_by_hand():
    one, other = Thing(0, 0, "red", "circle"), Thing(2, 1, "blue", "square")
    assert things_in_common(Scene((one, other)), Scene((one,))) == pytest.approx(2 / 3)
    assert things_in_common(Scene((one,)), Scene((Thing(0, 1, "red", "circle"),))) == 0
