import numpy as np

from envs.levels import game_file
from envs.static_game import MIN_LIGHT, make_static, write_static_game
from envs.wad import LINE, SECTOR, SIDE, Lump, read_levels


def _level(*, special: int, tag: int = 0) -> tuple[Lump, ...]:
    """Three sectors in a row; the middle one is shut and its front line has a special."""
    lines = np.zeros(2, LINE)
    lines["sides"] = [[0, 1], [2, 3]]
    lines["special"][0], lines["tag"][0] = special, tag
    sides = np.zeros(4, SIDE)
    sides["sector"] = [0, 1, 1, 2]
    sectors = np.zeros(3, SECTOR)
    sectors["ceiling"] = [128, 0, 96]
    sectors["special"] = 7
    sectors["tag"] = [0, 5, 0]
    sectors["light"] = [96, 208, 255]
    data = {"LINEDEFS": lines, "SIDEDEFS": sides, "SECTORS": sectors}
    return tuple(Lump(name, array.tobytes()) for name, array in data.items())


def _ceilings(level: tuple[Lump, ...]) -> list[int]:
    return np.frombuffer(level[2].data, SECTOR)["ceiling"].tolist()


def test_a_door_opens_to_just_below_its_lowest_neighbour():
    assert _ceilings(make_static(_level(special=1))) == [128, 92, 96]


def test_a_door_opened_from_afar_opens_too():
    assert _ceilings(make_static(_level(special=103, tag=5))) == [128, 92, 96]


def test_what_is_no_door_stays_shut():
    assert _ceilings(make_static(_level(special=52, tag=5))) == [128, 0, 96]


def test_no_line_and_no_sector_does_anything():
    level = make_static(_level(special=52))
    assert not np.frombuffer(level[0].data, LINE)["special"].any()
    assert not np.frombuffer(level[2].data, SECTOR)["special"].any()


def test_dark_sectors_are_lit_and_bright_ones_stay():
    lit = np.frombuffer(make_static(_level(special=1))[2].data, SECTOR)["light"]
    assert lit.tolist() == [MIN_LIGHT, 208, 255]


def test_the_written_patch_holds_every_level_with_the_walls_of_the_game(tmp_path):
    game = game_file("e1m1")
    write_static_game(game, tmp_path / "static.wad")
    before, after = read_levels(game), read_levels(tmp_path / "static.wad")
    assert before.keys() == after.keys()
    for level, lumps in after.items():
        assert [lump.name for lump in lumps] == [lump.name for lump in before[level]]
        for lump, original in zip(lumps, before[level], strict=True):
            changed = lump.name in ("LINEDEFS", "SECTORS")
            assert len(lump.data) == len(original.data)
            assert changed or lump.data == original.data
