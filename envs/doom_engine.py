"""DoomEngine: one ViZDoom game as a metric simulator whose camera is a function of the pose.

The levels are those of `envs.static_game`. Every step starts and ends at rest, and a frame is read only when
the view has come to rest on the floor, so neither frames nor motion depend on anything but the pose. Poses
are (x, y, yaw) in metres and radians.
"""

import math
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from data_tools.pose import displacement_between
from envs.clearance import UNITS_PER_M
from envs.doom_controller import STAND, TURNS, UNIT, Place, half_turn, nudge, plan_step, turn_button
from envs.doom_game import DoomGame
from envs.drive import DriveResult

__all__ = ["COLLISION_TOLERANCE", "STEP_S", "TICS_PER_STEP", "DoomEngine", "Motion", "SeenThing"]

TICS_PER_STEP = 9
STEP_S = TICS_PER_STEP / 35
"""What a step takes in the game's own time [s]: eight tics to drive, one to brake."""
COLLISION_TOLERANCE = 0.01
"""A step collided if what happened differs from what was asked by more than this [m, m, rad]."""

_SETTLE_TICS = 3
_MAX_COORDINATE_M = 1000.0
_TELEPORT_TOLERANCE_M = 0.002
_FIXED_PER_M = UNIT * UNITS_PER_M
_RAD_PER_TURN = 2 * math.pi / TURNS


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What a step did: the pose reached, the displacement that happened, whether it was cut short or bent."""

    pose: Float64[np.ndarray, " 3"]
    displacement: Float64[np.ndarray, " 3"]
    collided: bool


@dataclass(frozen=True, kw_only=True)
class SeenThing:
    """A thing in sight: the engine's name of its kind, where it stands [m], its box in the frame [pixels]."""

    name: str
    x_m: float
    y_m: float
    left: int
    top: int
    width: int
    height: int


class DoomEngine:
    """A running game. Use it as a context manager, or close it: it is a process.

    Args:
        level: One of `envs.levels.LEVELS`.
        frame_height: Height of a frame [pixels].
        frame_width: Width [pixels]; pictures are 4:3, such as 120 x 160 and 240 x 320.
        with_depth: Whether `depth_m` can be asked for.
        with_labels: Whether `things` can be asked for.
    """

    def __init__(
        self,
        level: str,
        *,
        frame_height: int = 120,
        frame_width: int = 160,
        with_depth: bool = False,
        with_labels: bool = False,
    ) -> None:
        self._game = DoomGame(
            level,
            frame_height=frame_height,
            frame_width=frame_width,
            with_depth=with_depth,
            with_labels=with_labels,
        )
        self._settle()

    def __enter__(self) -> "DoomEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the game's process and remove its files; closing twice is allowed."""
        self._game.close()

    def load_level(self, level: str) -> None:
        """Start a level at its own start (20 ms; 0.4 s for a level of the other game file)."""
        self._game.load(level)
        self._settle()

    @property
    def level(self) -> str:
        """The level being played."""
        return self._game.level

    @property
    def pose(self) -> Float64[np.ndarray, " 3"]:
        """Where the player is."""
        return _to_pose(self._place)

    def frame(self) -> UInt8[np.ndarray, "height width 3"]:
        """Return a copy of what the player sees."""
        return self._game.state().screen_buffer.copy()

    def depth_m(self) -> Float32[np.ndarray, "height width"]:
        """Return the depth along the camera's axis [m], in steps of 0.23 m; in the sky it means nothing."""
        buffer = self._game.state().depth_buffer
        if buffer is None:
            raise ValueError("this engine renders no depth; make it with with_depth=True")
        # Measured by casting rays against the lines of known sectors; off by at most 4 map units.
        return (np.float32(7.29) * buffer + np.float32(5.9)) / np.float32(UNITS_PER_M)

    def things(self) -> tuple[SeenThing, ...]:
        """Return the things in sight."""
        labels = self._game.state().labels
        if labels is None:
            raise ValueError("this engine labels nothing; make it with with_labels=True")
        return tuple(
            SeenThing(
                name=label.object_name,
                x_m=label.object_position_x / UNITS_PER_M,
                y_m=label.object_position_y / UNITS_PER_M,
                left=label.x,
                top=label.y,
                width=label.width,
                height=label.height,
            )
            for label in labels
            if label.object_name != "NavigationPlayer"
        )

    def teleport(self, pose: Float[np.ndarray, " 3"]) -> None:
        """Put the player at rest at a pose, within 2 mm and 0.0001 rad; ValueError where there is no room.

        Give poses where a player can be: those of WalkableMap.sample, or recorded ones.
        """
        goal = _to_place(pose)
        for corner in _corners(goal):
            with self._game.core.joined():
                self._warp(goal, corner)
                is_settled = self._settle()
            missed_m = math.hypot(self._place.x - goal.x, self._place.y - goal.y) / _FIXED_PER_M
            if is_settled and missed_m < _TELEPORT_TOLERANCE_M:
                return
        raise ValueError(
            f"no room for the player at ({pose[0]:.3f}, {pose[1]:.3f}) m in {self.level}; "
            "take poses of WalkableMap.sample, or recorded ones"
        )

    def step(self, displacement: Float[np.ndarray, " 3"]) -> Motion:
        """Drive a displacement in one step of nine tics, from rest to rest, walls included."""
        start = self._place
        with self._game.core.joined():
            self._push(displacement)
            self._settle()
        happened = _displacement(start, self._place)
        errors = (abs(asked - got) for asked, got in zip(displacement.tolist(), happened, strict=True))
        return Motion(
            pose=self.pose, displacement=np.array(happened), collided=max(errors) > COLLISION_TOLERANCE
        )

    def drive(
        self, start_pose: Float[np.ndarray, " 3"], displacements: Float[np.ndarray, "step 3"]
    ) -> DriveResult:
        """Teleport to a pose and drive: as `teleport`, then `step` for each displacement, but faster.

        Args:
            start_pose: Where to start [m, m, rad].
            displacements: Each in the robot frame at its own start [m, m, rad].

        Returns:
            The last frame, and the pose and whether there was a collision after each step.
        """
        with self._game.core.joined():
            found = self._drive_free(start_pose, displacements)
        return found or self._drive_stepwise(start_pose, displacements)

    def _drive_free(
        self, start_pose: Float[np.ndarray, " 3"], displacements: Float[np.ndarray, "step 3"]
    ) -> DriveResult | None:
        """Drive by the controller's model and look once, at the end; None if the way was not free."""
        goal = _to_place(start_pose)
        self._warp(goal, _corners(goal)[0])
        places = [self._place]
        for displacement in displacements:
            self._game.act(STAND)
            self._push(displacement)
            places.append(self._place)
        self._settle()
        if self._place != places[-1]:
            return None
        return self._result(np.array([_to_pose(place) for place in places]), displacements)

    def _drive_stepwise(
        self, start_pose: Float[np.ndarray, " 3"], displacements: Float[np.ndarray, "step 3"]
    ) -> DriveResult:
        self.teleport(start_pose)
        poses = [self.pose]
        for displacement in displacements:
            poses.append(self.step(displacement).pose)
        return self._result(np.array(poses), displacements)

    def _result(
        self, poses: Float64[np.ndarray, "pose 3"], displacements: Float[np.ndarray, "step 3"]
    ) -> DriveResult:
        happened = displacement_between(poses[:-1], poses[1:])
        return DriveResult(frame=self.frame(), poses=poses[1:], collided=_differ(displacements, happened))

    def _warp(self, goal: Place, corner: Place) -> None:
        """Go to a place in two tics, warping to a corner and going the rest; a tic to stand must follow."""
        rest = nudge(corner, goal)
        self._game.warp(corner.x // UNIT, corner.y // UNIT)
        self._game.act((0, 0, turn_button(half_turn(goal.heading - self._place.heading)), 1))
        self._game.act(rest.buttons[0])
        self._place = rest.end

    def _push(self, displacement: Float[np.ndarray, " 3"]) -> None:
        """Drive a step but for its last tic, to stand; the place becomes that of a free way."""
        dx, dy, dyaw = displacement.tolist()
        if not math.isfinite(dx + dy + dyaw):
            raise ValueError(f"needed a finite displacement (dx, dy, dyaw), got {displacement}")
        plan = plan_step(self._place, (dx, dy, dyaw), num_tics=TICS_PER_STEP - 1)
        for buttons in plan.buttons:
            self._game.act(buttons)
        self._place = plan.end

    def _settle(self) -> bool:
        """Let a tic pass, in falls and on stairs more; take over the place; return whether the view rests.

        It never comes to rest where a teleport put the player into a floor.
        """
        before, reading = None, self._game.stand(1)
        while not reading.is_settled and reading != before:
            before, reading = reading, self._game.stand(_SETTLE_TICS)
        self._place = reading.place
        return reading.is_settled


def _corners(goal: Place) -> list[Place]:
    """Return the four whole-unit places around a place, nearest first; walls may stand on some."""
    x, y = goal.x // UNIT, goal.y // UNIT
    places = [Place(UNIT * (x + i), UNIT * (y + j), goal.heading) for i in (0, 1) for j in (0, 1)]
    return sorted(places, key=lambda place: abs(place.x - goal.x) + abs(place.y - goal.y))


def _differ(
    asked: Float[np.ndarray, "step 3"], happened: Float[np.ndarray, "step 3"]
) -> Bool[np.ndarray, " step"]:
    return np.any(np.abs(asked - happened) > COLLISION_TOLERANCE, axis=-1)


def _displacement(start: Place, end: Place) -> tuple[float, float, float]:
    """Return (dx, dy, dyaw) in the robot frame at the start [m, m, rad]; a hundredth of what arrays cost."""
    angle = start.heading * _RAD_PER_TURN
    cos, sin = math.cos(angle) / _FIXED_PER_M, math.sin(angle) / _FIXED_PER_M
    x, y = end.x - start.x, end.y - start.y
    return cos * x + sin * y, cos * y - sin * x, half_turn(end.heading - start.heading) * _RAD_PER_TURN


def _to_pose(place: Place) -> Float64[np.ndarray, " 3"]:
    yaw_rad = half_turn(place.heading) * _RAD_PER_TURN
    return np.array([place.x / _FIXED_PER_M, place.y / _FIXED_PER_M, yaw_rad])


def _to_place(pose: Float[np.ndarray, " 3"]) -> Place:
    if not (np.isfinite(pose).all() and (np.abs(pose[:2]) < _MAX_COORDINATE_M).all()):
        raise ValueError(f"needed a finite pose (x m, y m, yaw rad) within 1000 m of the origin, got {pose}")
    x_m, y_m, yaw_rad = pose.tolist()
    heading = round(yaw_rad / _RAD_PER_TURN) % TURNS
    return Place(round(x_m * _FIXED_PER_M), round(y_m * _FIXED_PER_M), heading)
