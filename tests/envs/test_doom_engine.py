"""The engine against laws that hold whatever the level, and against its own controller's model."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import vizdoom

from data_tools.pose import displacement_between, move
from envs.doom_engine import DoomEngine
from envs.level_geometry import home_m, read_geometry, walkable_map
from envs.levels import game_file

ROOT = str(Path(__file__).parents[2])
_START = np.array([-6.0, -6.0, 0.0])
"""The start of map01: free for two metres all around."""
_WALL = np.array([-6.0, -6.0, np.pi])
"""Looking at the wall behind it."""


@pytest.fixture(scope="module")
def engine():
    with DoomEngine("map01", with_depth=True, with_labels=True) as engine:
        yield engine


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _steps(num: int, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform([-0.1, -0.1, -0.4], [0.4, 0.1, 0.4], (num, 3))


def test_a_free_step_does_what_was_asked(engine, rng):
    for displacement in _steps(7, rng):
        engine.teleport(_START)
        motion = engine.step(displacement)
        assert motion.displacement == pytest.approx(displacement, abs=1e-3)
        assert not motion.collided
        assert motion.pose == pytest.approx(move(_START, motion.displacement), abs=1e-3)


def test_a_step_into_a_wall_is_cut_short_and_says_so(engine):
    engine.teleport(_WALL)
    motions = [engine.step(np.array([0.5, 0.0, 0.0])) for _ in range(20)]
    assert motions[-1].collided
    assert motions[-1].displacement[0] < 0.01
    assert not motions[0].collided


def test_an_oblique_wall_bends_a_step_along_it(engine):
    engine.teleport(_WALL)
    for _ in range(20):
        engine.step(np.array([0.5, 0.0, 0.0]))
    motion = engine.step(np.array([0.3, 0.3, 0.0]))
    assert motion.collided
    assert abs(motion.displacement[0]) < 0.05
    assert motion.displacement[1] > 0.1


def test_teleports_are_good_to_a_millimetre(engine, rng):
    for _ in range(20):
        place_m = walkable_map("map01").sample(rng=rng, near_m=home_m("map01"))
        pose = np.append(place_m, rng.uniform(-np.pi, np.pi))
        engine.teleport(pose)
        assert engine.pose[:2] == pytest.approx(pose[:2], abs=1e-3)
        assert abs(displacement_between(pose, engine.pose)[2]) < 1e-4


def test_the_same_pose_shows_the_same_pixels_whatever_came_between(engine, rng):
    engine.teleport(_START)
    frame = engine.frame()
    for displacement in _steps(5, rng):
        engine.step(displacement)
    engine.load_level("map07")
    engine.load_level("map01")
    engine.teleport(_START)
    assert np.array_equal(engine.frame(), frame)


def test_a_drive_is_a_teleport_and_steps(engine, rng):
    # From the middle of the room most drives are free; toward the wall they are driven step by step.
    for start in (_START, _WALL):
        for _ in range(3):
            displacements = _steps(8, rng)
            result = engine.drive(start, displacements)
            engine.teleport(start)
            motions = [engine.step(displacement) for displacement in displacements]
            assert np.array_equal(result.poses, [motion.pose for motion in motions])
            assert np.array_equal(result.collided, [motion.collided for motion in motions])
            assert np.array_equal(result.frame, engine.frame())


def test_a_drive_of_no_steps_is_a_look(engine):
    result = engine.drive(_START, np.zeros((0, 3)))
    engine.teleport(_START)
    assert result.poses.shape == (0, 3)
    assert np.array_equal(result.frame, engine.frame())


def test_frames_are_copies(engine):
    engine.teleport(_START)
    frame = engine.frame()
    frame[:] = 0
    assert engine.frame().any()


def test_depth_shrinks_by_what_one_walks_toward_a_wall(engine):
    engine.teleport(_WALL)
    far_m = float(engine.depth_m()[60, 80])
    walked_m = sum(float(engine.step(np.array([0.25, 0.0, 0.0])).displacement[0]) for _ in range(4))
    assert far_m - float(engine.depth_m()[60, 80]) == pytest.approx(walked_m, abs=0.3)


def test_things_in_sight_stand_in_the_field_of_view(engine, rng):
    seen = 0
    for _ in range(20):
        place_m = walkable_map("map01").sample(rng=rng, near_m=home_m("map01"))
        engine.teleport(np.append(place_m, rng.uniform(-np.pi, np.pi)))
        for thing in engine.things():
            ahead, left, _ = displacement_between(engine.pose, np.array([thing.x_m, thing.y_m, 0.0]))
            assert abs(np.arctan2(left, ahead)) < np.pi / 4 + 0.6
            assert 0 <= thing.left < 160
            seen += 1
    assert seen > 5


def test_sectors_are_those_of_the_running_game(tmp_path):
    """Heights and lines read from the file, against what ViZDoom says; doors are open only in ours."""
    game = vizdoom.DoomGame()
    game.set_doom_game_path(str(game_file("map01")))
    game.set_doom_map("map01")
    game.set_doom_config_path(str(tmp_path / "engine.ini"))
    game.set_window_visible(False)
    game.set_sectors_info_enabled(True)
    game.init()
    state = game.get_state()
    assert state is not None
    assert state.sectors is not None
    theirs, ours = state.sectors, read_geometry("map01").sectors
    game.close()
    assert len(theirs) == len(ours)
    assert [32 * sector.floor_m for sector in ours] == [sector.floor_height for sector in theirs]
    raised = [32 * o.ceiling_m - t.ceiling_height for o, t in zip(ours, theirs, strict=True)]
    assert min(raised) == 0
    assert 0 < np.count_nonzero(raised) < 20


def test_places_outside_the_level_and_numbers_that_are_none_are_refused(engine):
    with pytest.raises(ValueError, match="no room for the player"):
        engine.teleport(np.array([900.0, 900.0, 0.0]))
    with pytest.raises(ValueError, match="needed a finite pose"):
        engine.teleport(np.array([0.0, np.nan, 0.0]))
    with pytest.raises(ValueError, match="needed a finite pose"):
        engine.drive(np.array([0.0, 4000.0, 0.0]), np.zeros((2, 3)))
    engine.teleport(_START)
    with pytest.raises(ValueError, match="needed a finite displacement"):
        engine.step(np.array([np.inf, -np.inf, 0.0]))


def test_a_game_half_written_to_a_full_disk_is_written_again(monkeypatch):
    def fail(game: Path, patch: Path) -> None:
        patch.write_bytes(b"PWAD")
        raise OSError(errno.ENOSPC, "No space left on device")

    with DoomEngine("map01") as engine:
        with monkeypatch.context() as full, pytest.raises(OSError, match="No space left"):
            full.setattr("envs.doom_game.write_static_game", fail)
            engine.load_level("e1m1")
        engine.load_level("e1m1")
        assert engine.frame().any()


def test_bad_levels_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"unknown level 'map99'.*e4m9"):
        DoomEngine("map99")
    with pytest.raises(ValueError, match=r"no frames of 64x64.*120x160"):
        DoomEngine("map01", frame_height=64, frame_width=64)


def test_engines_that_start_at_once_do_not_meet_in_the_folder_of_the_program(tmp_path):
    # Where `_vizdoom` cannot be made, an engine ends, and its program crashes: so it must not be made there.
    (tmp_path / "_vizdoom").touch()
    command = "from envs.doom_engine import DoomEngine; DoomEngine('map01').close()"
    environment = {**os.environ, "PYTHONPATH": ROOT}
    subprocess.run([sys.executable, "-c", command], check=True, cwd=tmp_path, env=environment)
    assert os.listdir(tmp_path) == ["_vizdoom"]


def test_a_folder_from_which_no_program_runs_is_refused(monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OSError, match=r"no program may be run; set TMPDIR"):
        DoomEngine("map01")


def test_buffers_must_be_asked_for_and_closing_twice_is_allowed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = DoomEngine("e1m1")
    with pytest.raises(ValueError, match="with_depth=True"):
        engine.depth_m()
    with pytest.raises(ValueError, match="with_labels=True"):
        engine.things()
    engine.close()
    engine.close()
    assert os.listdir(tmp_path) == []
