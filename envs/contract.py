"""The environment contract: one check that every environment passes, so that no simulator's habits leak out.

What it demands is what agents, the recorder and the evaluation rely on:

- actions (dx [m], dy [m], dyaw [rad], stop), float32, in a symmetric box, stop in [0, 1] (> 0.5 stops);
- observations `image` and `goal`, `uint8[height, width, 3]` of one size, nothing else: poses stay in `info`;
- `info` with the keys of `INFO`, after `reset` and after every `step`; `displacement` is what happened,
  which is what was asked for unless `collided`;
- equal seeds and actions give equal pixels and poses; a stop ends the episode and moves nothing;
- actions that are not finite or outside the box are refused with a ValueError.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from jaxtyping import Float64

from data_tools.pose import displacement_between, wrap_angle
from data_tools.randomness import numpy_generator_for
from envs.drive import DriveResult
from envs.measures import is_success

INFO = ("pose", "displacement", "collided", "distance_to_goal_m", "level", "success", "reached")
"""What `info` holds: pose and displacement (float64[3]), collided, geodesic distance [m], level, flags."""

_Seen = tuple[Mapping[str, np.ndarray], Mapping[str, Any]]
_NUM_STEPS = 6
_TOLERANCE = 0.05
"""How far a free step may be from what was asked, in each component [m, m, rad]."""


class ContractError(AssertionError):
    """An environment breaks the contract; the message says where."""


@runtime_checkable
class Drives(Protocol):
    """An environment on which a planner can try displacements out: the true simulator as a model."""

    def drive(
        self, start_pose: Float64[np.ndarray, " 3"], displacements: Float64[np.ndarray, "step 3"]
    ) -> DriveResult:
        """Put the agent at a pose and drive displacements from there."""
        ...


def check(env: gymnasium.Env, *, seed: int) -> None:
    """Raise a ContractError that says what is wrong, if an environment breaks the contract.

    Gymnasium's own `check_env` comes last, with errors of its own.

    The environment is reset and stepped, and left open. The steps are small and random.
    """
    _check_spaces(env)
    first, second = _roll(env, seed), _roll(env, seed)
    _check_equal(first, second)
    _check_stop(env, seed)
    _check_refusals(env, seed)
    if isinstance(env.unwrapped, Drives):
        _check_drive(env, env.unwrapped, seed)
    check_env(env.unwrapped, skip_render_check=True)


def _demand(holds: object, message: str) -> None:
    if not holds:
        raise ContractError(message)


def _check_spaces(env: gymnasium.Env) -> None:
    actions = env.action_space
    _demand(isinstance(actions, spaces.Box), f"the action space must be a Box, it is {actions}")
    assert isinstance(actions, spaces.Box)
    _demand(
        actions.shape == (4,) and actions.dtype == np.float32,
        f"actions must be float32[4] (dx, dy, dyaw, stop), they are {actions.dtype}{list(actions.shape)}",
    )
    low, high = actions.low, actions.high
    _demand(
        (low[:3] == -high[:3]).all() and (high[:3] > 0).all(),
        f"dx, dy, dyaw need a symmetric box, got {actions}",
    )
    _demand(low[3] == 0 and high[3] == 1, f"stop must lie in [0, 1], it lies in [{low[3]}, {high[3]}]")
    _demand(high[2] <= np.pi, f"a turn of {high[2]} rad in one step is ambiguous; at most pi")
    seen = env.observation_space
    _demand(isinstance(seen, spaces.Dict), f"the observation space must be a Dict, it is {seen}")
    assert isinstance(seen, spaces.Dict)
    _demand(
        set(seen) == {"image", "goal"}, f"observations must be image and goal only, they are {sorted(seen)}"
    )
    for name, space in seen.items():
        _demand(
            isinstance(space, spaces.Box) and space.dtype == np.uint8 and space.shape[2:] == (3,),
            f"{name} must be uint8[height, width, 3], it is {space}",
        )
    _demand(seen["image"].shape == seen["goal"].shape, "image and goal must have one size")


def _roll(env: gymnasium.Env, seed: int) -> list[_Seen]:
    """Run an episode's first steps; check each; return its observations and infos."""
    rng = numpy_generator_for(seed, "contract")
    observation, info = env.reset(seed=seed)
    _check_observation(env, observation)
    _check_info(info)
    _demand(not info["displacement"].any(), f"reset moves nothing, info says {info['displacement']}")
    _demand(not info["collided"] and not info["success"], "an episode cannot begin collided or successful")
    rolled: list[_Seen] = [(observation, info)]
    for _ in range(_NUM_STEPS):
        action = _small_action(env, rng)
        image, pose = rolled[-1][0]["image"].copy(), rolled[-1][1]["pose"].copy()
        observation, _, terminated, truncated, info = env.step(action)
        kept = np.array_equal(image, rolled[-1][0]["image"]) and np.array_equal(pose, rolled[-1][1]["pose"])
        _demand(kept, "a step must not write into the observation or info of the step before: return copies")
        _check_observation(env, observation)
        _check_step(rolled[-1], observation, info, action)
        rolled.append((observation, info))
        _demand(not terminated, "an episode must not terminate before a stop action")
        if truncated:
            break
    return rolled


def _check_observation(env: gymnasium.Env, observation: Mapping[str, np.ndarray]) -> None:
    shapes = {name: (value.dtype, value.shape) for name, value in observation.items()}
    _demand(env.observation_space.contains(observation), f"outside its observation space: {shapes}")


def _small_action(env: gymnasium.Env, rng: np.random.Generator) -> np.ndarray:
    high = env.action_space.high  # type: ignore[attr-defined]
    action = rng.uniform(-0.5, 0.5, size=4) * high
    action[3] = 0.0
    return action.astype(np.float32)


def _check_step(before: _Seen, observation: Mapping, info: Mapping, action: np.ndarray) -> None:
    _check_info(info)
    happened = displacement_between(before[1]["pose"], info["pose"])
    error = happened - info["displacement"]
    error[2] = wrap_angle(np.array(error[2]))
    _demand(
        np.abs(error).max() < 1e-6,
        f"displacement {info['displacement']} is not the way between the poses, {happened}: it must be what "
        "happened, in the robot frame of the earlier pose",
    )
    _demand(
        np.array_equal(observation["goal"], before[0]["goal"]), "the goal image must not change in an episode"
    )
    missed = happened - action[:3]
    missed[2] = wrap_angle(np.array(missed[2]))
    _demand(
        info["collided"] or np.abs(missed).max() < _TOLERANCE,
        f"(dx, dy, dyaw) = {action[:3]} was asked for and {happened} happened without `collided`: dx is "
        "forward [m], dy to the left [m], dyaw counter-clockwise [rad]",
    )
    _demand(
        before[1]["reached"] <= info["reached"],
        "`reached` means ever: once true, it stays true in an episode",
    )


def _check_info(info: Mapping[str, Any]) -> None:
    missing = [key for key in INFO if key not in info]
    _demand(not missing, f"info lacks {missing}")
    for key in ("pose", "displacement"):
        value = info[key]
        is_pose = isinstance(value, np.ndarray) and value.dtype == np.float64 and value.shape == (3,)
        _demand(is_pose, f"info[{key!r}] must be float64[3], it is {value!r}")
        _demand(np.isfinite(value).all(), f"info[{key!r}] must be finite, it is {value}")
        _demand(
            -np.pi <= value[2] < np.pi, f"the yaw of info[{key!r}] must lie in [-pi, pi), it is {value[2]}"
        )
    for key in ("collided", "success", "reached"):
        _demand(isinstance(info[key], bool | np.bool_), f"info[{key!r}] must be a bool, it is {info[key]!r}")
    distance_m = info["distance_to_goal_m"]
    _demand(
        isinstance(distance_m, float | np.floating) and distance_m >= 0,
        f"distance_to_goal_m must be a float of at least 0, it is {distance_m!r}",
    )
    _demand(isinstance(info["level"], str), f"info['level'] must be a str, it is {info['level']!r}")


def _check_equal(first: list[_Seen], second: list[_Seen]) -> None:
    _demand(len(first) == len(second), "equal seeds and actions must give episodes of equal length")
    for number, ((seen, info), (seen_again, info_again)) in enumerate(zip(first, second, strict=True)):
        for name in ("image", "goal"):
            same = np.array_equal(seen[name], seen_again[name])
            _demand(same, f"equal seeds and actions must give equal pixels; {name} {number} differs")
        _demand(
            np.array_equal(info["pose"], info_again["pose"]),
            f"equal seeds and actions must give equal poses; {info['pose']} and {info_again['pose']} differ",
        )


def _check_stop(env: gymnasium.Env, seed: int) -> None:
    _, before = env.reset(seed=seed)
    _, _, terminated, _, info = env.step(np.array([0, 0, 0, 1], dtype=np.float32))
    _demand(terminated, "a stop action must terminate the episode")
    _demand(np.array_equal(before["pose"], info["pose"]), "a stop action must not move the agent")
    within = is_success(info["distance_to_goal_m"], stopped=True)
    _demand(
        bool(info["success"]) == within,
        f"stopped {info['distance_to_goal_m']:.2f} m from the goal, so success must be {within}",
    )


def _check_refusals(env: gymnasium.Env, seed: int) -> None:
    high = env.action_space.high  # type: ignore[attr-defined]
    bad = [
        np.array([np.nan, 0, 0, 0], dtype=np.float32),
        np.array([0, np.inf, 0, 0], dtype=np.float32),
        np.array([1.5 * high[0], 0, 0, 0], dtype=np.float32),
        np.array([0, 0, -1.5 * high[2], 0], dtype=np.float32),
        np.zeros(3, dtype=np.float32),
    ]
    for action in bad:
        env.reset(seed=seed)
        try:
            env.step(action)
        except ValueError:
            continue
        raise ContractError(f"the action {action} must be refused with a ValueError, it was accepted")


def _check_drive(env: gymnasium.Env, driver: Drives, seed: int) -> None:
    """Driving from the start pose must lead where stepping leads."""
    rolled = _roll(env, seed)
    poses = np.stack([info["pose"] for _, info in rolled])
    displacements = np.stack([info["displacement"] for _, info in rolled[1:]])
    result = driver.drive(poses[0], displacements)
    _demand(result.poses.shape == displacements.shape, "drive must return one pose a displacement")
    _demand(
        result.frame.shape == rolled[0][0]["image"].shape, "drive must return a frame of the image's size"
    )
    away_m = float(np.linalg.norm(result.poses[-1, :2] - poses[-1, :2]))
    _demand(
        away_m < 0.1 or result.collided.any(),
        f"driving what happened must lead where it happened; it ended {away_m:.3f} m away",
    )
