"""Sources: each kind opens its own form, and what is not there is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.pose_file import write_poses
from data_tools.recording import EncodedImage, Recording
from data_tools.sources import SourceConfig, SourceKind, open_source


def test_folders_of_nwm_come_with_their_bytes_and_a_place(tmp_path):
    for name in ("b", "a"):
        (tmp_path / "yard" / name).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (4, 3), (index, 0, 0)).save(tmp_path / "yard" / name / f"{index}.jpg")
        write_poses(np.zeros((3, 3)), tmp_path / "yard" / name)
    (tmp_path / "names.txt").write_text("b\n")
    config = SourceConfig(source=SourceKind.nwm, data=str(tmp_path / "yard"), source_period_s=0.5)
    items = list(open_source(config))
    assert [item.name for item in items if isinstance(item, Recording)] == ["a", "b"]
    (item,) = open_source(replace(config, names=str(tmp_path / "names.txt"), place="garden"))
    assert isinstance(item, Recording) and item.place == "garden" and item.track is not None
    assert item.image_times_s.tolist() == [0.0, 0.5, 1.0]
    (image,) = item.images.select([2])
    assert isinstance(image, EncodedImage)
    assert image.data == (tmp_path / "yard/b/2.jpg").read_bytes()


def test_a_source_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match="data=nowhere does not exist"):
        open_source(SourceConfig(source=SourceKind.nwm, data=str(Path("nowhere"))))
