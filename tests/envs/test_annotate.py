import re

import numpy as np
import pytest

from data_tools.trajectory import FrameText, TextKind, Trajectory
from envs.annotate import (
    Scene,
    SeenObject,
    annotate_frame,
    distance_words,
    side_of,
    write_caption,
    write_instructions,
    write_question,
)
from envs.free_space import FreeSpace

BEARINGS = np.radians([40.0, 20.0, 0.0, -20.0, -40.0])
BARREL = SeenObject(noun="a barrel", bearing_rad=0.5, distance_m=2.1)
TREE = SeenObject(noun="a bare tree", bearing_rad=-0.05, distance_m=5.2)


def scene(*objects: SeenObject, free_m: tuple[float, ...] = (1.0, 2.0, 3.1, 4.0, 6.0)) -> Scene:
    return Scene(objects=objects, free=FreeSpace(bearing_rad=BEARINGS, distance_m=np.array(free_m)))


def test_sides_follow_the_sign_of_the_bearing():
    assert (side_of(0.5), side_of(-0.5), side_of(0.1)) == ("left", "right", "ahead")


@pytest.mark.parametrize(
    ("distance_m", "words"),
    [
        (0.4, "about half a metre"),
        (1.1, "about one metre"),
        (1.6, "about one and a half metres"),
        (2.1, "about two metres"),
        (4.6, "about five metres"),
        (9.0, "more than eight metres"),
    ],
)
def test_distances_are_said_as_people_say_them(distance_m: float, words: str):
    assert distance_words(distance_m) == words


def test_answers_agree_with_the_scene():
    rng = np.random.default_rng(0)
    asked: dict[str, str] = {}
    for _ in range(800):
        question, answer = write_question(scene(BARREL, TREE), rng=rng)
        assert asked.setdefault(question, answer) == answer, "one scene, one answer"
    assert asked["how far is the wall ahead?"] == "about three metres"
    assert asked["which side has more room?"] == "the right"
    assert asked["what is on the left?"] == "a barrel"
    assert asked["what is on the right?"] == "nothing but walls"
    assert asked["do you see a barrel?"] == "yes"
    assert asked["how many objects are visible?"] == "two"
    assert asked["where is the bare tree?"] == "ahead, about five metres away"
    assert asked["is the way ahead free for two metres?"] == "yes"
    assert asked["is the way ahead free for four metres?"] == "no"
    assert "no" in {answer for question, answer in asked.items() if question.startswith("do you see")}


def test_a_post_beside_the_ray_blocks_the_way_and_hides_no_wall():
    """The post is 1.5 m ahead and 0.26 m aside, the wall behind it 6 m away."""
    beside = Scene(
        objects=(),
        free=FreeSpace(bearing_rad=np.radians([10.0, 0.0, -10.0]), distance_m=np.array([1.5, 6, 6])),
    )
    rng = np.random.default_rng(3)
    answers = dict(write_question(beside, rng=rng) for _ in range(400))
    assert answers["how far is the wall ahead?"] == "about six metres"
    assert answers["how far can you go straight ahead?"] == "about one and a half metres"
    assert answers["how much room is ahead?"] == "about one and a half metres"
    assert answers["can you go one metre ahead?"] == "yes"
    assert answers["can you go two metres ahead?"] == "no"
    captions = " ".join(write_caption(beside, rng=rng) for _ in range(100)).lower()
    assert "the wall ahead is about six metres away" in captions
    assert set(re.findall(r"the way ahead is free for (\w+ \w+)", captions)) == {"about one"}


def test_captions_vary_and_say_only_what_is_there():
    rng = np.random.default_rng(1)
    captions = {write_caption(scene(BARREL), rng=rng) for _ in range(200)}
    assert len(captions) > 40
    for caption in captions:
        assert re.fullmatch(r"[A-Z].*\.", caption) and "  " not in caption
        assert "tree" not in caption
        assert not re.search(r"barrel[^,;]*\bright\b", caption.lower().split(" and ")[0])


def test_empty_scene_has_captions_and_questions_too():
    rng = np.random.default_rng(2)
    for _ in range(50):
        texts = annotate_frame(3, scene(), rng=rng)
        assert texts[0].kind is TextKind.caption
        assert all(text.frame == 3 and text.answer for text in texts[1:])


def test_instructions_lie_inside_the_drive_and_one_in_five_is_held_out():
    rng = np.random.default_rng(4)
    poses = np.cumsum(np.full((30, 3), [0.2, 0.0, 0.05]), axis=0)
    texts = write_instructions(poses, num=300, rng=rng)
    lengths = [text.end_frame - text.frame for text in texts if text.end_frame is not None]
    assert set(lengths) == set(range(2, 11))
    assert 0.12 < np.mean([text.held_out for text in texts]) < 0.28
    known = {text.text for text in texts if not text.held_out}
    assert not known & {text.text for text in texts if text.held_out}, "held-out wordings stay apart"
    Trajectory(
        name="drive", place="room", frames=[np.zeros((2, 3, 3), dtype=np.uint8)] * 30, poses=poses,
        times_s=np.arange(30) * 0.25, texts=texts,
    )  # fmt: skip


def test_a_drive_of_two_frames_has_no_instructions():
    assert write_instructions(np.zeros((2, 3)), num=5, rng=np.random.default_rng(0)) == ()


def test_annotation_is_a_function_of_the_seed():
    first, second = (annotate_frame(0, scene(BARREL), rng=np.random.default_rng(9)) for _ in range(2))
    assert first == second and all(isinstance(text, FrameText) for text in first)
