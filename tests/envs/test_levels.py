import subprocess
import sys

import pytest

from envs.levels import LEVELS, TEST_LEVELS, TRAIN_LEVELS, VAL_LEVELS, check_level, game_file
from envs.wad import read_levels


def test_the_splits_are_disjoint_and_hold_every_level():
    assert sorted(TRAIN_LEVELS + VAL_LEVELS + TEST_LEVELS) == sorted(LEVELS)
    assert len(set(LEVELS)) == 68


def test_every_split_holds_levels_of_both_games():
    for split in (TRAIN_LEVELS, VAL_LEVELS, TEST_LEVELS):
        assert {level[0] for level in split} == {"m", "e"}


def test_the_levels_are_those_of_the_game_files():
    found = {level for name in ("map01", "e1m1") for level in read_levels(game_file(name))}
    assert found == set(LEVELS)


def test_an_unknown_level_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"unknown level 'map33'.*map01, map02.*e4m9"):
        check_level("map33")


def test_the_names_need_no_engine():
    code = "import sys, envs.levels; sys.exit('vizdoom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
