"""World frame: which trajectories have positions that can be compared."""

from enum import Enum

from data_tools.trajectory import Trajectory


class WorldFrame(Enum):
    """Who shares an origin and axes. No recording says so itself: whoever has the set must know."""

    shared = "shared"  # all trajectories: a simulator, a map that all drives were aligned to
    by_place = "by_place"  # those of one place name, as levels of a game
    own = "own"  # nobody: each drive's odometry begins where the drive does, as in most of NWM's sets


def world_of(trajectory: Trajectory, frame: WorldFrame) -> str:
    """Return the name of the world that a trajectory's positions are in; equal names share one."""
    match frame:
        case WorldFrame.shared:
            return ""
        case WorldFrame.by_place:
            return trajectory.place
        case WorldFrame.own:
            return f"{trajectory.place}/{trajectory.name}"
