"""DoomEngine: one ViZDoom game as a metric simulator whose camera is a function of the pose.

The levels are the static ones of `envs.static_game`. Every step and teleport starts at rest, and a frame is only read when
the view has come to rest on the floor, so neither frames nor motion depend on anything but the pose (and the
floor, where one stands below the other). Poses are (x, y, yaw) in metres and radians.
"""

import math
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import vizdoom
from jaxtyping import Float, Float64, UInt8

from data_tools.trajectory import displacement_between
from envs.doom_controller import TURNS, UNITS_PER_M, Place, nudge_buttons, plan_step, turn_button
from envs.drive import DriveResult
from envs.levels import check_level, game_file
from envs.static_game import write_static_game

__all__ = ["COLLISION_TOLERANCE", "TICS_PER_STEP", "TIC_S", "DoomEngine"]

TIC_S = 1 / 35
TICS_PER_STEP = 9
COLLISION_TOLERANCE = 0.01
"""A step collided if what happened and what was asked differ by more than this [m, m, rad]; a free step is within 0.001."""

_START_TICS = 60
"""In the first second of a level the player cannot turn."""
_SETTLE_TICS = 3
_MAX_SETTLE_TICS = 350
_EYE_HEIGHT = 41.0
_REST = [0.0, 0.0, 0.0]
_BUTTONS = [
    vizdoom.Button.MOVE_FORWARD_BACKWARD_DELTA,
    vizdoom.Button.MOVE_LEFT_RIGHT_DELTA,
    vizdoom.Button.TURN_LEFT_RIGHT_DELTA,
]
_ARGUMENTS = "-nomonsters +sv_cheats 1 +movebob 0 +stillbob 0"
_TELEPORT_TOLERANCE_M = 0.002


class DoomEngine:
    """A running game. Use it as a context manager, or close it: it is a process.

    Args:
        level: One of `envs.levels.LEVELS`.
        frame_height: Height of a frame [pixels].
        frame_width: Width [pixels]; the engine renders 4:3 pictures of 160 x 120, 320 x 240, 640 x 480 and more.
        with_depth: Whether `depth` can be asked for.
        with_labels: Whether `labels` can be asked for.
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
        self.level = level
        self.frame_shape = (frame_height, frame_width, 3)
        self._game_file = game_file(level)
        self._folder = tempfile.TemporaryDirectory(prefix="worldnav-doom-")
        self._game = vizdoom.DoomGame()
        self._game.set_screen_resolution(_resolution(frame_height, frame_width))
        self._game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        self._game.set_window_visible(False)
        self._game.set_render_hud(False)
        self._game.set_render_weapon(False)
        self._game.set_render_crosshair(False)
        self._game.set_depth_buffer_enabled(with_depth)
        self._game.set_labels_buffer_enabled(with_labels)
        self._game.set_available_buttons(_BUTTONS)
        self._game.set_mode(vizdoom.Mode.PLAYER)
        self._game.set_episode_timeout(0)
        self._game.set_seed(1)
        self._game.add_game_args(_ARGUMENTS)
        self._start_game()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the game's process and remove its files; closing twice is allowed."""
        self._game.close()
        self._folder.cleanup()

    def load_level(self, level: str) -> None:
        """Start a level anew, at its own start (20 ms; 0.4 s for a level of the other game file)."""
        check_level(level)
        self.level = level
        if game_file(level) == self._game_file:
            self._game.set_doom_map(level)
            self._game.new_episode()
            self._begin()
            return
        self._game.close()
        self._game_file = game_file(level)
        self._start_game()

    @property
    def pose(self) -> Float64[np.ndarray, " 3"]:
        """Where the player is."""
        return _to_pose(self._place)

    @property
    def height_m(self) -> float:
        """Height of the player's feet [m]."""
        return self._height / UNITS_PER_M

    def frame(self) -> UInt8[np.ndarray, "height width 3"]:
        """Return a copy of what the player sees."""
        return self._state().screen_buffer.copy()

    def depth(self) -> UInt8[np.ndarray, "height width"]:
        """Return a copy of the depth along the camera's axis, in the engine's 256 levels (near is 0)."""
        buffer = self._state().depth_buffer
        if buffer is None:
            raise ValueError("this engine renders no depth; make it with with_depth=True")
        return buffer.copy()

    def labels(self) -> list[vizdoom.Label]:
        """Return the things in sight: names and boxes in pixels."""
        if self._state().labels_buffer is None:
            raise ValueError("this engine renders no labels; make it with with_labels=True")
        return list(self._state().labels)

    def teleport(self, pose: Float[np.ndarray, " 3"]) -> None:
        """Put the player at rest at a pose, within 1 mm and 0.0001 rad.

        A pose inside a solid thing, or one whose way from the next whole map unit is blocked, raises a ValueError.
        """
        goal = _to_place(pose)
        self._warp(goal)
        self._settle()
        missed_m = math.hypot(self._place.x - goal.x, self._place.y - goal.y) / UNITS_PER_M
        if missed_m > _TELEPORT_TOLERANCE_M:
            raise ValueError(
                f"no room for the player at ({pose[0]:.3f}, {pose[1]:.3f}) m in {self.level}: came to rest "
                f"{missed_m:.3f} m away. Take poses that a player has been at, or WalkableMap.sample"
            )

    def step(self, displacement: Float[np.ndarray, " 3"]) -> Float64[np.ndarray, " 3"]:
        """Drive a displacement in one step of nine tics from rest; return the displacement that happened."""
        start = self.pose
        buttons, _ = plan_step(self._place, tuple(displacement.tolist()), num_tics=TICS_PER_STEP)
        self._brake()
        for tic in buttons[:-1]:
            self._game.set_action(tic)
            self._game.advance_action(1, False)
        self._game.set_action(buttons[-1])
        self._game.advance_action(1, True)
        self._read()
        self._settle()
        return displacement_between(start, self.pose)

    def drive(
        self, start_pose: Float[np.ndarray, " 3"], displacements: Float[np.ndarray, "step 3"]
    ) -> DriveResult:
        """Teleport to a pose and drive; the same as `teleport` and then `step` for each displacement.

        Args:
            start_pose: Where to start [m, m, rad].
            displacements: Each in the robot frame at its own start [m, m, rad].

        Returns:
            The last frame, and the pose and whether there was a collision after each step.
        """
        self.teleport(start_pose)
        happened, poses = [], []
        for displacement in displacements:
            happened.append(self.step(displacement))
            poses.append(self.pose)
        return DriveResult(
            frame=self.frame(),
            poses=np.array(poses).reshape(-1, 3),
            collided=has_collided(displacements, np.array(happened).reshape(-1, 3)),
        )

    def _start_game(self) -> None:
        patch = Path(self._folder.name) / f"static-{self._game_file.name}"
        if not patch.exists():
            write_static_game(self._game_file, patch)
        self._game.set_doom_game_path(str(self._game_file))
        self._game.set_doom_scenario_path(str(patch))
        self._game.set_doom_map(self.level)
        self._game.init()
        self._begin()

    def _begin(self) -> None:
        self._place, self._height = Place(0.0, 0.0, 0), 0.0
        self._advance(_START_TICS)
        self._settle()

    def _brake(self) -> None:
        self._game.send_game_command("use Brake")

    def _warp(self, goal: Place) -> None:
        """Be at rest at a place after three tics: warp to whole units and turn; go the rest; brake."""
        corner = Place(float(round(goal.x)), float(round(goal.y)), goal.heading)
        turn = (goal.heading - self._place.heading + TURNS // 2) % TURNS - TURNS // 2
        self._brake()
        self._game.send_game_command(f"warp {corner.x:.0f} {corner.y:.0f}")
        self._game.set_action([0.0, 0.0, turn_button(turn)])
        self._game.advance_action(1, False)
        self._game.set_action(nudge_buttons(corner, goal))
        self._game.advance_action(1, False)
        self._brake()
        self._advance(1)

    def _advance(self, num_tics: int) -> None:
        self._game.set_action(_REST)
        self._game.advance_action(num_tics, True)
        self._read()

    def _settle(self) -> None:
        """Wait until the player stands on the floor and the view has stopped bending; nearly always no time at all."""
        num_tics = 0
        while not self._at_rest:
            assert num_tics < _MAX_SETTLE_TICS, (
                f"the view does not come to rest at {self.pose} in {self.level}"
            )
            if num_tics == 0:
                self._brake()
            self._advance(_SETTLE_TICS)
            num_tics += _SETTLE_TICS

    def _read(self) -> None:
        """Take over what the engine says after an update."""
        get = self._game.get_game_variable
        heading = round(get(vizdoom.GameVariable.ANGLE) * TURNS / 360) % TURNS
        self._place = Place(
            get(vizdoom.GameVariable.POSITION_X), get(vizdoom.GameVariable.POSITION_Y), heading
        )
        self._height = get(vizdoom.GameVariable.POSITION_Z)
        eye_height = get(vizdoom.GameVariable.CAMERA_POSITION_Z) - self._height
        self._at_rest = eye_height == _EYE_HEIGHT and get(vizdoom.GameVariable.VELOCITY_Z) == 0

    def _state(self) -> vizdoom.GameState:
        state = self._game.get_state()
        assert state is not None, (
            "the game has ended: the static levels have no exit and the player cannot die"
        )
        return state


def has_collided(asked: Float[np.ndarray, "step 3"], happened: Float[np.ndarray, "step 3"]) -> np.ndarray:
    """Return for each step whether its displacement was cut short or bent by more than COLLISION_TOLERANCE."""
    return (np.abs(asked - happened) > COLLISION_TOLERANCE).any(axis=-1)


def _to_pose(place: Place) -> Float64[np.ndarray, " 3"]:
    heading = (place.heading + TURNS // 2) % TURNS - TURNS // 2
    return np.array([place.x / UNITS_PER_M, place.y / UNITS_PER_M, heading * 2 * math.pi / TURNS])


def _to_place(pose: Float[np.ndarray, " 3"]) -> Place:
    x_m, y_m, yaw_rad = pose.tolist()
    return Place(x_m * UNITS_PER_M, y_m * UNITS_PER_M, round(yaw_rad * TURNS / (2 * math.pi)) % TURNS)


def _resolution(height: int, width: int) -> vizdoom.ScreenResolution:
    """Return the engine's name of a 4:3 picture size (others change the field of view)."""
    members = vizdoom.ScreenResolution.__members__
    name = f"RES_{width}X{height}"
    if name not in members or 3 * width != 4 * height:
        sizes = [member.removeprefix("RES_").split("X") for member in members]
        fitting = [f"{h}x{w}" for w, h in sizes if 3 * int(w) == 4 * int(h)]
        raise ValueError(f"no frames of {height}x{width} (height x width); choose from {', '.join(fitting)}")
    return members[name]
