"""DoomGame: one ViZDoom process that plays a static level, in the engine's own units."""

import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

import vizdoom
from vizdoom import Button, GameVariable

from data_tools.whole_file import whole_file
from envs.core import Core
from envs.doom_controller import STAND, TURNS, UNIT, Buttons, Place
from envs.leash import Leash
from envs.levels import game_file
from envs.static_game import write_static_game

__all__ = ["DoomGame", "Reading"]

_START_TICS = 60
"""In the first second of a level the player cannot turn."""
_EYE_HEIGHT = 41.0
_BUTTONS = [
    Button.MOVE_FORWARD_BACKWARD_DELTA,
    Button.MOVE_LEFT_RIGHT_DELTA,
    Button.TURN_LEFT_RIGHT_DELTA,
    # The brake: the player's only item. As a console command it would cost a message a step.
    Button.ACTIVATE_SELECTED_ITEM,
]
# Levels that take long to prepare would be cached in the folder where the program was started.
_ARGUMENTS = "-nomonsters +sv_cheats 1 +movebob 0 +stillbob 0 +gl_cachenodes 0"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Where the player is, the heights of his feet and eyes, and his vertical speed [map units (a tic)]."""

    place: Place
    height: float
    eye_height: float
    vertical_speed: float

    @property
    def is_settled(self) -> bool:
        """Whether he stands on the floor, with his eyes where they belong."""
        return self.eye_height - self.height == _EYE_HEIGHT and self.vertical_speed == 0


class DoomGame:
    """A running game; close it.

    Args:
        level: One of `envs.levels.LEVELS`.
        frame_height: Height of a frame [pixels].
        frame_width: Width of a frame [pixels].
        with_depth: Whether the state has a depth buffer.
        with_labels: Whether the state has labels.
    """

    def __init__(
        self, level: str, *, frame_height: int, frame_width: int, with_depth: bool, with_labels: bool
    ) -> None:
        self.level = level
        self._file = game_file(level)
        resolution = _resolution(frame_height, frame_width)
        self._folder = tempfile.TemporaryDirectory(prefix="worldnav-doom-")
        try:
            engine = _launcher(Path(self._folder.name))
        except OSError:
            self._folder.cleanup()
            raise
        self._leash = Leash(Path(self._folder.name))
        self.core = Core()
        """Where the engine runs: join it to talk with it."""
        self._game = vizdoom.DoomGame()
        self._game.set_screen_resolution(resolution)
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
        self._game.set_vizdoom_path(str(engine))
        self._game.set_doom_config_path(f"{self._folder.name}/engine.ini")
        self._game.add_game_args(_ARGUMENTS)
        self._start()

    def close(self) -> None:
        """End the process and remove its files; closing twice is allowed."""
        self._game.close()
        self.core.give_back()
        self._leash.let_go()
        self._folder.cleanup()

    def load(self, level: str) -> None:
        """Start a level at its own start; one of the other game file needs a new process."""
        file = game_file(level)
        self.level = level
        # It does not run after a start that failed, as on a full disk.
        if file == self._file and self._game.is_running():
            self._game.set_doom_map(level)
            self._game.new_episode()
            self._freeze()
        else:
            self._file = file
            self._game.close()
            self._start()

    def warp(self, x: int, y: int) -> None:
        """Be at (x, y) [map units] on the floor after the coming tic, in which nothing else moves."""
        self._game.send_game_command(f"warp {x} {y}")

    def act(self, buttons: Buttons) -> None:
        """Let one tic pass with these buttons, without looking: it costs a fifth of one that renders."""
        self._game.set_action(buttons)
        self._game.advance_action(1, False)

    def stand(self, num_tics: int) -> Reading:
        """Let tics pass at rest, then render and read."""
        self._game.set_action(STAND)
        self._game.advance_action(num_tics, True)
        get = self._game.get_game_variable
        heading = round(get(GameVariable.ANGLE) * TURNS / 360) % TURNS
        x, y = get(GameVariable.POSITION_X), get(GameVariable.POSITION_Y)
        return Reading(
            place=Place(int(x * UNIT), int(y * UNIT), heading),
            height=get(GameVariable.POSITION_Z),
            eye_height=get(GameVariable.CAMERA_POSITION_Z),
            vertical_speed=get(GameVariable.VELOCITY_Z),
        )

    def state(self) -> vizdoom.GameState:
        """Return what was rendered last."""
        state = self._game.get_state()
        assert state is not None, "the game has ended, though there is no exit and the player cannot die"
        return state

    def _start(self) -> None:
        patch = Path(self._folder.name) / f"static-{self._file.name}"
        if not patch.exists():
            with whole_file(patch) as temporary:
                write_static_game(self._file, temporary)
        self._game.set_doom_game_path(str(self._file))
        self._game.set_doom_scenario_path(str(patch))
        self._game.set_doom_map(self.level)
        # Nothing in a static level is random; a fixed seed makes that hold for what we overlooked.
        self._game.set_seed(0)
        with self.core.joined():
            self._game.init()
        self._freeze()

    def _freeze(self) -> None:
        """Stop all but the player: torches and items are animated, so frames would depend on time."""
        self.stand(_START_TICS)
        self._game.send_game_command("freeze")
        self.stand(1)


def _launcher(folder: Path) -> Path:
    """Write the program that starts an engine in a folder of its own; OSError if it may not be run there.

    Every engine makes `_vizdoom` where it is started; when two do so at once, one of them fails and takes
    the program that plays it with it (SIGSEGV): 1 of 100 starts, two by two in one folder.
    """
    path = folder / "engine"
    engine = Path(vizdoom.__file__).parent / "vizdoom"
    path.write_text(
        f'#!/bin/sh\ncd {shlex.quote(str(folder))} && exec {shlex.quote(str(engine))} "$@"\n',
        encoding="utf-8",
    )
    path.chmod(0o700)
    if not os.access(path, os.X_OK):
        raise OSError(f"{folder} is on a disk from which no program may be run; set TMPDIR to one elsewhere")
    return path


def _resolution(height: int, width: int) -> vizdoom.ScreenResolution:
    """Return the engine's name of a 4:3 picture size; other shapes would change the field of view."""
    members = vizdoom.ScreenResolution.__members__
    name = f"RES_{width}X{height}"
    if name not in members or 3 * width != 4 * height:
        sizes = [member.removeprefix("RES_").split("X") for member in members]
        fitting = [f"{h}x{w}" for w, h in sizes if 3 * int(w) == 4 * int(h)]
        raise ValueError(f"no frames of {height}x{width} (height x width); choose from {', '.join(fitting)}")
    return members[name]
