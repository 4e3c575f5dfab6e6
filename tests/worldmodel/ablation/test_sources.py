"""Laws of sources: the same data passes wherever it lies, other data does not."""

from dataclasses import replace

import pytest

from data_tools.trajectory import write_trajectory
from tests.worldmodel.ablation.pictures import drive_with_pictures
from worldmodel.ablation.sources import FILE, claim_sources


@pytest.fixture
def folders(tmp_path):
    data, text = tmp_path / "data", tmp_path / "text"
    write_trajectory(drive_with_pictures(5, seed=0), data)
    text.mkdir()
    (text / "book.txt").write_text("once")
    return data, text


def test_the_same_sources_pass_again_and_elsewhere(folders, tmp_path):
    data, text = folders
    claim_sources(tmp_path, data=str(data), text=str(text))
    noted = (tmp_path / FILE).read_text()
    moved = text.rename(tmp_path / "moved")
    claim_sources(tmp_path, data=str(data), text=str(moved))
    assert (tmp_path / FILE).read_text() == noted


@pytest.mark.parametrize("name", ["data", "text"])
def test_others_are_refused_and_what_was_noted_is_kept(folders, tmp_path, name):
    data, text = folders
    claim_sources(tmp_path, data=str(data), text=str(text))
    noted = (tmp_path / FILE).read_text()
    if name == "data":
        write_trajectory(replace(drive_with_pictures(6, seed=1), name="another"), data)
    else:
        (text / "more.txt").write_text("upon a time")
    with pytest.raises(ValueError, match=rf"needed {name} [0-9a-f]{{16}}, got [0-9a-f]{{16}}; give"):
        claim_sources(tmp_path, data=str(data), text=str(text))
    assert (tmp_path / FILE).read_text() == noted
