"""Finding bags: every one once, each under a name of its own."""

from pathlib import Path

import pytest

from data_tools.formats.bag_files import find_bags


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def named(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): name for path, name in find_bags(root)}


def test_finds_files_and_folders_below_and_nothing_twice(tmp_path: Path):
    touch(tmp_path, "b.bag", "a/c.mcap", "a/run_1.5/metadata.yaml", "a/run_1.5/run_0.mcap")
    touch(tmp_path, "a/run_1.5/run_1.mcap", "d.bag.active", ".hidden/e.bag", "a/.f.bag", "notes.txt")
    touch(tmp_path, "of_other_tool/metadata.yaml", "of_other_tool/g.bag")
    assert named(tmp_path) == {
        "a/c.mcap": "c",
        "a/run_1.5": "run_1.5",
        "b.bag": "b",
        "d.bag.active": "d",
        "of_other_tool/g.bag": "g",
    }
    assert [path for path, _ in find_bags(tmp_path)] == sorted(path for path, _ in find_bags(tmp_path))


def test_equal_stems_take_the_folders_above_and_then_the_suffix(tmp_path: Path):
    touch(tmp_path, "1/x/drive.bag", "2/x/drive.bag", "2/y/drive.bag", "2/z/one.bag", "2/z/one.mcap")
    assert named(tmp_path) == {
        "1/x/drive.bag": "1_x_drive",
        "2/x/drive.bag": "2_x_drive",
        "2/y/drive.bag": "y_drive",
        "2/z/one.bag": "one.bag",
        "2/z/one.mcap": "one.mcap",
    }


def test_a_single_bag_is_itself(tmp_path: Path):
    touch(tmp_path, "a.bag", "b/metadata.yaml", "b/b_0.db3")
    assert find_bags(tmp_path / "a.bag") == [(tmp_path / "a.bag", "a")]
    assert find_bags(tmp_path / "b") == [(tmp_path / "b", "b")]


def test_refuses_what_is_no_bag(tmp_path: Path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(ValueError, match=r"notes.txt is no ROS bag; one ends in .bag, .active, .mcap, .db3"):
        find_bags(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match="holds no ROS bag"):
        find_bags(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not there"):
        find_bags(tmp_path / "missing.bag")
