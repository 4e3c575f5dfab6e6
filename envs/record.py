"""Record: let a policy drive a simulator, and keep what it saw and what happened."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8

from data_tools.trajectory import FrameText
from envs.annotate import Scene, SeenObject, annotate_frame
from envs.doom_engine import Motion, SeenThing
from envs.free_space import free_space_from_depth
from envs.nouns import noun_of
from envs.policies import Policy, clip_action

_MIN_BOX_PX = 24
"""Things with a smaller box are specks that nobody would mention."""


@runtime_checkable
class Simulator(Protocol):
    """What a recording needs of a simulator; the Doom engine is one."""

    @property
    def pose(self) -> Float64[np.ndarray, " 3"]:
        """Where the robot is."""
        ...

    def frame(self) -> UInt8[np.ndarray, "height width 3"]:
        """Return what it sees."""
        ...

    def depth_m(self) -> Float[np.ndarray, "height width"]:
        """Return the depth along the camera's axis [m]."""
        ...

    def things(self) -> tuple[SeenThing, ...]:
        """Return the things in sight."""
        ...

    def step(self, displacement: Float[np.ndarray, " 3"]) -> Motion:
        """Drive one step, walls included."""
        ...


@dataclass(frozen=True, kw_only=True)
class Drive:
    """What happened on a drive; `collided` says for each step whether it was cut short."""

    frames: list[UInt8[np.ndarray, "height width 3"]]
    poses: Float64[np.ndarray, "frame 3"]
    collided: Bool[np.ndarray, " step"]
    texts: tuple[FrameText, ...]


def record(
    simulator: Simulator,
    policy: Policy,
    *,
    num_frames: int,
    caption_share: float,
    rng: np.random.Generator,
    text_rng: np.random.Generator,
) -> Drive:
    """Let a policy drive from where the robot stands, and keep what it sees and where it gets.

    Args:
        simulator: Stands at the start; moved.
        policy: Chooses each displacement from pose and free space.
        num_frames: Number of frames, one more than steps.
        caption_share: Share of frames that get a caption and questions.
        rng: Source of the policy's choices.
        text_rng: Source of the texts, apart so that texts do not change the drive.

    Returns:
        Frames, poses after each step (what happened, not what was asked for), collisions and texts.
    """
    frames, poses, collisions, texts = [], [], [], []
    collided = False
    for index in range(num_frames):
        pose = simulator.pose
        free = free_space_from_depth(simulator.depth_m())
        frames.append(simulator.frame())
        poses.append(pose)
        if text_rng.random() < caption_share:
            scene = Scene(objects=seen_objects(simulator.things(), pose), free=free)
            texts.extend(annotate_frame(index, scene, rng=text_rng))
        if index + 1 < num_frames:
            action = policy.act(pose, free, collided, rng=rng)
            collided = simulator.step(clip_action(action)).collided
            collisions.append(collided)
    return Drive(
        frames=frames, poses=np.stack(poses), collided=np.array(collisions, dtype=bool), texts=tuple(texts)
    )


def seen_objects(things: tuple[SeenThing, ...], pose: Float64[np.ndarray, " 3"]) -> tuple[SeenObject, ...]:
    """Return what one would speak of among the things in sight, nearest first."""
    x_m, y_m, yaw_rad = pose.tolist()
    seen = []
    for thing in things:
        noun = noun_of(thing.name)
        if noun is not None and thing.width * thing.height >= _MIN_BOX_PX:
            offset_m = (thing.x_m - x_m, thing.y_m - y_m)
            bearing_rad = math.remainder(math.atan2(offset_m[1], offset_m[0]) - yaw_rad, 2 * math.pi)
            seen.append(SeenObject(noun=noun, bearing_rad=bearing_rad, distance_m=math.hypot(*offset_m)))
    return tuple(sorted(seen, key=lambda one: one.distance_m))
