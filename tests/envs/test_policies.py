import math

import numpy as np
import pytest

from data_tools.pose import displacement_between, integrate, move
from envs.clearance import Sector
from envs.free_space import FreeSpace
from envs.geodesic import WalkableMap
from envs.policies import Explorer, NoisyFollower, Policy, RandomCommands, clip_action, random_command

STEP_S = 9 / 35
BEARINGS = np.radians(np.linspace(42.0, -42.0, 21))


def free_space(distance_m: float) -> FreeSpace:
    return FreeSpace(bearing_rad=BEARINGS, distance_m=np.full(21, distance_m))


def box_free_space(pose: np.ndarray, half_m: float) -> FreeSpace:
    """Free space of a robot in a square room with walls at +-half_m."""
    angle = pose[2] + BEARINGS
    along_x = (np.sign(np.cos(angle)) * half_m - pose[0]) / np.cos(angle)
    along_y = (np.sign(np.sin(angle)) * half_m - pose[1]) / np.sin(angle)
    return FreeSpace(bearing_rad=BEARINGS, distance_m=np.minimum(along_x, along_y))


def drive_in_box(policy: Policy, *, num_steps: int, half_m: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Return poses and collisions of a policy in a square room in which walls stop the robot."""
    rng = np.random.default_rng(3)
    poses, collided = [np.array([0.3, -0.2, 0.7])], [False]
    for _ in range(num_steps):
        action = policy.act(poses[-1], box_free_space(poses[-1], half_m), collided[-1], rng=rng)
        wanted = move(poses[-1], clip_action(action))
        reached = wanted.copy()
        reached[:2] = np.clip(wanted[:2], 0.5 - half_m, half_m - 0.5)
        collided.append(bool(np.abs(wanted[:2] - reached[:2]).max() > 0.02))
        poses.append(reached)
    return np.stack(poses), np.array(collided[1:])


def square_map(half_m: float) -> WalkableMap:
    corners = np.array([[-half_m, -half_m], [half_m, -half_m], [half_m, half_m], [-half_m, half_m]])
    lines = np.concatenate([corners, np.roll(corners, -1, axis=0)], axis=1)
    return WalkableMap.from_sectors(
        [Sector(floor_m=0.0, ceiling_m=4.0, lines=lines, is_blocking=np.ones(4, dtype=bool))]
    )


@pytest.mark.parametrize("name", ["explorer", "follower", "commands"])
def test_policies_keep_moving_at_walking_speed_and_see_the_whole_room(name: str):
    policy = {
        "explorer": lambda: Explorer(step_s=STEP_S),
        "follower": lambda: NoisyFollower(square_map(4.0), step_s=STEP_S),
        "commands": RandomCommands,
    }[name]()
    poses, collided = drive_in_box(policy, num_steps=400)
    speed_m_s = np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1).mean() / STEP_S
    assert 0.4 < speed_m_s < 1.4
    assert collided.mean() < 0.3
    assert np.ptp(poses[:, 0]) > 4.0 and np.ptp(poses[:, 1]) > 4.0


def test_two_seconds_of_commands_are_badly_predicted_by_their_mean():
    poses, _ = drive_in_box(RandomCommands(), num_steps=600)
    ahead = displacement_between(poses[:-8], poses[8:])
    error_m = np.linalg.norm(ahead[:, :2] - ahead[:, :2].mean(axis=0), axis=1).mean()
    assert error_m > 0.4 * np.linalg.norm(ahead[:, :2], axis=1).mean()


def test_explorer_turns_away_from_a_wall_and_keeps_its_side():
    policy, rng = Explorer(step_s=STEP_S), np.random.default_rng(5)
    turns = [policy.act(np.zeros(3), free_space(0.4), True, rng=rng)[2] for _ in range(7)]
    assert len(set(np.sign(turns))) == 1 and min(np.abs(turns)) > 0.2


def test_follower_reaches_a_place_that_a_straight_line_misses():
    """Two rooms joined by one door: only a path through the door leads from one to the other."""
    walls = np.array(
        [
            [-3, -3, 3, -3], [3, -3, 3, 3], [3, 3, -3, 3], [-3, 3, -3, -3],
            [0, -3, 0, 1.0], [0, 2.4, 0, 3],
        ],
        dtype=np.float64,
    )  # fmt: skip
    walkable = WalkableMap.from_sectors(
        [Sector(floor_m=0.0, ceiling_m=4.0, lines=walls, is_blocking=np.ones(6, dtype=bool))]
    )
    policy, rng = NoisyFollower(walkable, step_s=STEP_S), np.random.default_rng(2)
    pose, visited = np.array([-2.0, -2.0, 0.0]), []
    for _ in range(300):
        pose = move(pose, clip_action(policy.act(pose, free_space(3.0), False, rng=rng)))
        visited.append(pose[0] > 0.7)
    assert any(visited) and not all(visited)


def test_random_commands_cover_every_motion_and_stay_in_bounds():
    rng = np.random.default_rng(1)
    commands = np.stack([random_command(rng=rng) for _ in range(2000)])
    assert np.abs(commands).max(axis=0) == pytest.approx([0.45, 0.35, 0.5], abs=0.05)
    assert (commands == 0).all(axis=1).any(), "standing still"
    assert ((np.abs(commands[:, 0]) < 0.05) & (np.abs(commands[:, 2]) > 0.3)).any(), "turning in place"
    assert (commands[:, 0] < -0.2).any() and (commands[:, 1] > 0.3).any() and (commands[:, 1] < -0.3).any()
    speed_m_s = np.linalg.norm(commands[:, :2], axis=1).mean() / STEP_S
    assert 0.7 < speed_m_s < 1.1
    ends = integrate(np.repeat(commands[:, None], 8, axis=1))[:, -1]
    assert math.degrees(np.abs(ends[:, 2]).max()) > 150


def test_clipped_actions_lie_on_the_bounds():
    np.testing.assert_array_equal(clip_action(np.array([2.0, -0.7, -3.0])), [0.6, -0.6, -1.0])
