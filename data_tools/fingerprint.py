"""Fingerprint: which recordings a result was made of, as one hash."""

import hashlib
from collections.abc import Iterable

from data_tools.trajectory import Trajectory


def fingerprint(trajectories: Iterable[Trajectory]) -> str:
    """Return the SHA-256 over names, places, times and poses, whatever the order of the trajectories.

    Frames are not read: their number is in it, their content is not.
    """
    digest = hashlib.sha256()
    for trajectory in sorted(trajectories, key=lambda each: (each.name, each.place)):
        heading = f"{trajectory.name}\0{trajectory.place}\0{trajectory.num_frames}\0"
        digest.update(heading.encode() + trajectory.times_s.tobytes())
        digest.update(b"no poses" if trajectory.poses is None else trajectory.poses.tobytes())
    return digest.hexdigest()
