import numpy as np
import pytest

from data_tools.pose import displacement_between, move
from data_tools.trajectory import TextKind
from envs.doom_engine import Motion, SeenThing
from envs.policies import RandomCommands
from envs.record import Simulator, record, seen_objects


class Corridor:
    """A robot in a corridor along x, 2 m wide and without end, whose frames hold its position."""

    def __init__(self) -> None:
        self.pose = np.zeros(3)

    def frame(self) -> np.ndarray:
        return np.full((2, 3, 3), round(100 * abs(float(self.pose[0]))) % 256, dtype=np.uint8)

    def depth_m(self) -> np.ndarray:
        return np.full((30, 40), 5.0)

    def things(self) -> tuple[SeenThing, ...]:
        return (thing("TorchTree", 5.0, 0.5), thing("TeleportFog", 0.0, 0.0))

    def step(self, displacement: np.ndarray) -> Motion:
        start, self.pose = self.pose, move(self.pose, displacement)
        self.pose[1] = np.clip(self.pose[1], -1.0, 1.0)
        happened = displacement_between(start, self.pose)
        return Motion(
            pose=self.pose, displacement=happened, collided=bool(np.abs(happened - displacement).max() > 0.01)
        )


def thing(name: str, x_m: float, y_m: float, *, size_px: int = 9) -> SeenThing:
    return SeenThing(name=name, x_m=x_m, y_m=y_m, left=0, top=0, width=size_px, height=size_px)


def record_corridor(*, num_frames: int, caption_share: float = 0.0, text_seed: int = 0):
    return record(
        Corridor(),
        RandomCommands(),
        num_frames=num_frames,
        caption_share=caption_share,
        rng=np.random.default_rng(1),
        text_rng=np.random.default_rng(text_seed),
    )


def test_what_happened_is_recorded_and_frames_belong_to_their_poses():
    driven = record_corridor(num_frames=150)
    assert isinstance(Corridor(), Simulator)
    assert len(driven.frames) == len(driven.poses) == 150 and driven.collided.shape == (149,)
    assert np.abs(driven.poses[:, 1]).max() == 1.0 and driven.collided.any() and not driven.collided.all()
    for frame, pose in zip(driven.frames, driven.poses, strict=True):
        assert frame[0, 0, 0] == round(100 * abs(float(pose[0]))) % 256


def test_texts_do_not_change_the_drive():
    plain, told = (
        record_corridor(num_frames=23),
        record_corridor(num_frames=23, caption_share=1.0, text_seed=5),
    )
    np.testing.assert_array_equal(plain.poses, told.poses)
    assert not plain.texts
    captions = [text for text in told.texts if text.kind is TextKind.caption]
    assert [caption.frame for caption in captions] == list(range(23))
    assert any("bare tree" in caption.text.lower() for caption in captions)


def test_objects_have_bearings_of_the_robot_frame_and_come_nearest_first():
    pose = np.array([1.0, 2.0, np.pi / 2])
    seen = seen_objects(
        (thing("TorchTree", 1.0, 7.0), thing("ExplosiveBarrel", -1.0, 2.0), thing("TeleportFog", 1.0, 2.0)),
        pose,
    )
    assert [one.noun for one in seen] == ["a barrel", "a bare tree"]
    assert seen[0].bearing_rad == pytest.approx(np.pi / 2) and seen[0].distance_m == pytest.approx(2.0)
    assert seen[1].bearing_rad == pytest.approx(0.0, abs=1e-12) and seen[1].side == "ahead"


def test_specks_are_not_spoken_of():
    assert seen_objects((thing("TorchTree", 9.0, 0.0, size_px=3),), np.zeros(3)) == ()
