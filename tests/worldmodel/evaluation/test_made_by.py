"""What made the files in a folder: noted before the first of them, and compared by whoever takes them up."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.worldmodel.evaluation.fakes import write_pictures
from worldmodel.evaluation.made_by import KEPT, MakerSettings, begin, find
from worldmodel.precision import Precision

WANTED = [("a.png", "a wall"), ("b.png", "a door")]


@dataclass(frozen=True)
class Settings:
    """The least that says what makes pictures."""

    out: str
    model: str | None = "nano"
    seed: int = 7
    precision: Precision = Precision.float32


def test_what_began_a_folder_is_found_again(tmp_path):
    settings = Settings(str(tmp_path))
    assert isinstance(settings, MakerSettings)
    made_by = begin(settings, WANTED)
    write_pictures([tmp_path / "images" / "a.png"])
    assert begin(settings, WANTED) == find(settings, WANTED) == made_by
    assert find(replace(settings, model=None), WANTED) == made_by and len(made_by.model_hash) == 16


@pytest.mark.parametrize("wanted", [WANTED[:1], WANTED[::-1], [("a.png", "a wal"), ("lb.png", "a door")]])
def test_other_texts_and_names_are_refused(tmp_path, wanted):
    settings = Settings(str(tmp_path))
    begin(settings, WANTED)
    for meet in (begin, find):
        with pytest.raises(ValueError, match=r"made by nano .* needed texts_hash .* another `out`"):
            meet(settings, wanted)


@pytest.mark.parametrize("folder", KEPT)
def test_files_of_nobody_knows_whom_are_scored_alone(tmp_path, folder):
    write_pictures([tmp_path / folder / "0" / "a.png"])
    with pytest.raises(ValueError, match=f"{folder} hold files"):
        begin(Settings(str(tmp_path)), WANTED)
    assert find(Settings(str(tmp_path), model=None), WANTED) is None
    assert not Path(tmp_path / "made_by.json").exists()


def test_nothing_is_made_by_no_model(tmp_path):
    with pytest.raises(ValueError, match="model=FOLDER"):
        begin(Settings(str(tmp_path), model=None), WANTED)
