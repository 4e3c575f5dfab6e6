"""A file is the old one or the new one, never a part."""

import errno
from pathlib import Path

import pytest

from data_tools.whole_file import whole_file, write_text


def test_a_file_is_replaced_when_the_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "note.txt"
    write_text(path, "old")
    with whole_file(path) as temporary:
        temporary.write_text("new, not yet")
        assert path.read_text() == "old"
    assert path.read_text() == "new, not yet"
    assert [each.name for each in path.parent.iterdir()] == ["note.txt"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="No space"), whole_file(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
