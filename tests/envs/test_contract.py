"""The contract accepts the synthetic environment and refuses every way of breaking it that we know."""

from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs.contract import ContractError, check
from envs.drive import DriveResult
from tests.envs.grid_room import GridRoom


class Broken(GridRoom):
    """GridRoom that spoils what it returns."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        self.num_steps = 0
        self.before = np.zeros(3)
        return self.spoil(*super().reset(seed=seed, options=options))

    def step(self, action: np.ndarray):
        self.num_steps += 1
        observation, reward, terminated, truncated, info = super().step(action)
        observation, info = self.spoil(observation, info)
        return observation, reward, terminated, truncated, info

    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        raise NotImplementedError


class ForgetsCollided(Broken):
    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        return observation, {key: value for key, value in info.items() if key != "collided"}


class SinglePrecisionPose(Broken):
    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        return observation, info | {"pose": info["pose"].astype(np.float32)}


class PoseInDegrees(Broken):
    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        pose = info["pose"].copy()
        pose[2] = 181.0
        return observation, info | {"pose": pose}


class CollidedIsACount(Broken):
    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        return observation, info | {"collided": 0}


class DistanceIsWhole(Broken):
    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        return observation, info | {"distance_to_goal_m": 3}


class LevelIsANumber(Broken):
    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        return observation, info | {"level": 3}


class NoisyCamera(Broken):
    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        noise = np.random.default_rng().integers(0, 2, size=observation["image"].shape, dtype=np.uint8)
        return observation | {"image": observation["image"] ^ noise}, info


class GoalMoves(Broken):
    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        return observation | {"goal": np.full_like(observation["goal"], self.num_steps)}, info


class WorldFrameDisplacement(Broken):
    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        east_north = info["pose"] - self.before if self.num_steps else np.zeros(3)
        self.before = info["pose"]
        turn_rad = info["displacement"][2]
        return observation, info | {"displacement": np.array([*east_north[:2], turn_rad])}


class ForgetsReached(Broken):
    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        return observation, info | {"reached": self.num_steps < 2}


class ReusesItsBuffers(Broken):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        self.frame = np.zeros((24, 32, 3), dtype=np.uint8)
        return super().reset(seed=seed, options=options)

    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        self.frame[:] = observation["image"]
        return observation | {"image": self.frame}, info


class CroppedImage(Broken):
    def spoil(self, observation: dict, info: dict) -> tuple[dict, dict]:
        return observation | {"image": observation["image"][1:]}, info


class AlwaysSucceeds(GridRoom):
    def step(self, action: np.ndarray):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, info | {"success": terminated}


class ShortSteps(GridRoom):
    def step(self, action: np.ndarray):
        return super().step(np.asarray(action * np.array([0.3, 0.3, 1, 1]), dtype=np.float32))


class SwapsLeftAndRight(GridRoom):
    def step(self, action: np.ndarray):
        return super().step(action * np.array([1, -1, -1, 1], dtype=np.float32))


class DrivesBackwards(GridRoom):
    def step(self, action: np.ndarray):
        return super().step(action * np.array([-1, 1, 1, 1], dtype=np.float32))


class TurnsHalf(GridRoom):
    def step(self, action: np.ndarray):
        return super().step(action * np.array([1, 1, 0.5, 1], dtype=np.float32))


class RewardIsText(GridRoom):
    def step(self, action: np.ndarray):
        observation, _, terminated, truncated, info = super().step(action)
        return observation, cast(float, "none"), terminated, truncated, info


class Hurries(GridRoom):
    def step(self, action: np.ndarray):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, True, truncated, info


class NeverStops(GridRoom):
    def step(self, action: np.ndarray):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, False, truncated, info


class StopMoves(GridRoom):
    def step(self, action: np.ndarray):
        if action[3] > 0.5:
            super().step(np.array([0, 0, 0.5, 0], dtype=np.float32))
        return super().step(action)


class Clips(GridRoom):
    def step(self, action: np.ndarray):
        asked = np.nan_to_num(np.resize(action, 4), nan=0.0, posinf=1.0)
        low, high = self.action_space.low, self.action_space.high  # type: ignore[attr-defined]
        return super().step(np.clip(asked, low, high).astype(np.float32))


class DrivesElsewhere(GridRoom):
    def drive(self, start_pose: np.ndarray, displacements: np.ndarray) -> DriveResult:
        return super().drive(start_pose + np.array([0.0, 0.3, 0.0]), displacements)


class TellsItsPose(GridRoom):
    def __init__(self) -> None:
        super().__init__()
        images = self.observation_space.spaces  # type: ignore[attr-defined]
        self.observation_space = spaces.Dict({**images, "pose": spaces.Box(-99, 99, (3,))})


class WideTurns(GridRoom):
    def __init__(self) -> None:
        super().__init__()
        high = np.array([0.6, 0.6, 4.0, 1.0], dtype=np.float32)
        self.action_space = spaces.Box(high * np.array([-1, -1, -1, 0], dtype=np.float32), high)


class DiscreteActions(GridRoom):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Discrete(4)


class FloatImages(GridRoom):
    def __init__(self) -> None:
        super().__init__()
        image = spaces.Box(0, 1, (24, 32, 3), dtype=np.float32)
        self.observation_space = spaces.Dict({"image": image, "goal": image})


@pytest.mark.parametrize("seed", [0, 7])
def test_the_synthetic_environment_keeps_the_contract(seed: int):
    check(GridRoom(), seed=seed)
    check(gymnasium.wrappers.TimeLimit(GridRoom(), 3), seed=seed)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (ForgetsCollided, r"info lacks \['collided'\]"),
        (SinglePrecisionPose, "must be float64"),
        (PoseInDegrees, r"must lie in \[-pi, pi\)"),
        (CollidedIsACount, "'collided'.*must be a bool"),
        (DistanceIsWhole, "distance_to_goal_m must be a float"),
        (LevelIsANumber, "must be a str"),
        (NoisyCamera, "equal pixels"),
        (GoalMoves, "goal image must not change"),
        (WorldFrameDisplacement, "in the robot frame of the earlier pose"),
        (ForgetsReached, "once true, it stays true"),
        (ReusesItsBuffers, "return copies"),
        (CroppedImage, "outside its observation space"),
        (AlwaysSucceeds, "success must be False"),
        (ShortSteps, "without `collided`"),
        (SwapsLeftAndRight, "dy to the left"),
        (DrivesBackwards, "dx is forward"),
        (TurnsHalf, "dyaw counter-clockwise"),
        (Hurries, "must not terminate before a stop"),
        (NeverStops, "stop action must terminate"),
        (StopMoves, "stop action must not move"),
        (Clips, "must be refused with a ValueError"),
        (DrivesElsewhere, "must lead where it happened"),
        (TellsItsPose, "image and goal only"),
        (WideTurns, "ambiguous"),
        (DiscreteActions, "must be a Box"),
        (RewardIsText, "must be a float, int"),
        (FloatImages, "must be uint8"),
    ],
)
def test_broken_environments_are_refused(broken: type[GridRoom], message: str):
    with pytest.raises((ContractError, UserWarning), match=message):
        check(broken(), seed=1)
