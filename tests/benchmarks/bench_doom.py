"""Speed of DoomNav against raw ViZDoom, as JSON: `python -m tests.benchmarks.bench_doom [rounds]`.

Both render 160 x 120 RGB every 9 tics of the same level, in turn, in the same run; medians over rounds, since
other work on the machine disturbs single ones. The target for `ratio` is 0.9. There raw ViZDoom takes one
action for all 9 tics. DoomNav's controller needs one a tic, each a message to the engine and back; in
`ratio_tic_by_tic` raw ViZDoom takes as many. DoomNav talks with its engine on one core (`envs/core.py`); raw
ViZDoom does so where the scheduler happens to put it there: before the command, `taskset -c 0` makes it.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

import gymnasium
import numpy as np
import vizdoom

import envs  # noqa: F401 (registers DoomNav)
from envs.doom_engine import TICS_PER_STEP
from envs.levels import game_file

_LEVEL = "map01"
_NUM_STEPS = 200
_NUM_DRIVES = 30
_HORIZON = 8
_BUTTONS = [vizdoom.Button.MOVE_FORWARD_BACKWARD_DELTA, vizdoom.Button.TURN_LEFT_RIGHT_DELTA]


def main() -> None:
    """Print steps/s of both, their ratio, and drives of 8 steps a second."""
    num_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    env = gymnasium.make("worldnav/DoomNav-v0", levels=(_LEVEL,))
    folder = tempfile.TemporaryDirectory()
    raw = _raw_game(folder.name)
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {"raw": [], "tic_by_tic": [], "env": [], "drive": []}
    for _ in range(num_rounds):
        actions = rng.uniform([-0.05, -0.05, -0.3, 0], [0.3, 0.05, 0.3, 0], (_NUM_STEPS, 4)).astype(
            np.float32
        )
        times["raw"].append(_timed(partial(_run_raw, raw, actions)) / _NUM_STEPS)
        times["tic_by_tic"].append(_timed(partial(_run_tic_by_tic, raw, actions)) / _NUM_STEPS)
        times["env"].append(_run_env(env, actions) / _NUM_STEPS)
        times["drive"].append(_run_drives(env, actions[:_HORIZON]) / _NUM_DRIVES)
    raw.close()
    env.close()
    folder.cleanup()

    def ratio(name: str) -> float:
        pairs = zip(times[name], times["env"], strict=True)
        return round(statistics.median([raw_s / env_s for raw_s, env_s in pairs]), 3)

    report = {
        "rounds": num_rounds,
        "raw_steps_per_s": round(1 / statistics.median(times["raw"])),
        "raw_tic_by_tic_steps_per_s": round(1 / statistics.median(times["tic_by_tic"])),
        "doomnav_steps_per_s": round(1 / statistics.median(times["env"])),
        "ratio": ratio("raw"),
        "ratio_tic_by_tic": ratio("tic_by_tic"),
        f"drives_of_{_HORIZON}_steps_per_s": round(1 / statistics.median(times["drive"])),
    }
    print(json.dumps(report, indent=1))


def _raw_game(folder: str) -> vizdoom.DoomGame:
    game = vizdoom.DoomGame()
    game.set_doom_game_path(str(game_file(_LEVEL)))
    game.set_doom_map(_LEVEL)
    game.set_doom_config_path(f"{folder}/engine.ini")
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_available_buttons(_BUTTONS)
    game.set_episode_timeout(0)
    game.add_game_args("-nomonsters")
    game.init()
    return game


def _run_raw(game: vizdoom.DoomGame, actions: np.ndarray) -> None:
    for dx, _, dyaw, _ in actions.tolist():
        game.make_action([20 * dx, -20 * dyaw], TICS_PER_STEP)
        state = game.get_state()
        assert state is not None
        state.screen_buffer.copy()


def _run_tic_by_tic(game: vizdoom.DoomGame, actions: np.ndarray) -> None:
    for dx, _, dyaw, _ in actions.tolist():
        for tic in range(TICS_PER_STEP):
            game.set_action([20 * dx, -20 * dyaw])
            game.advance_action(1, tic + 1 == TICS_PER_STEP)
        state = game.get_state()
        assert state is not None
        state.screen_buffer.copy()


def _run_env(env: gymnasium.Env, actions: np.ndarray) -> float:
    """Return the time of the steps alone [s]; resets are not counted."""
    env.reset(seed=0)
    total_s = 0.0
    for action in actions:
        start_s = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        total_s += time.perf_counter() - start_s
        if terminated or truncated:
            env.reset()
    return total_s


def _run_drives(env: gymnasium.Env, actions: np.ndarray) -> float:
    _, info = env.reset(seed=1)
    displacements = actions[:, :3].astype(np.float64)
    drive = env.unwrapped.drive  # type: ignore[attr-defined]
    return _timed(lambda: [drive(info["pose"], displacements) for _ in range(_NUM_DRIVES)])


def _timed(run: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    run()
    return time.perf_counter() - start_s


if __name__ == "__main__":
    main()
