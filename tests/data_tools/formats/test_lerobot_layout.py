"""The layout of LeRobot sets: numbered files, and descriptions that are checked before they are believed."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_tools.formats.lerobot_layout import Feature, FilePlace, read_info

INFO: dict[str, Any] = {
    "codebase_version": "v3.0",
    "fps": 10,
    "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "video_path": None,
    "features": {
        "observation.images.top": {
            "dtype": "video",
            "shape": [48, 64, 3],
            "names": ["height", "width", "channels"],
        },
        "observation.images.depth": {"dtype": "video", "shape": [48, 64, 1], "info": {"is_depth_map": True}},
        "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["left", "right"]}},
        "action": {"dtype": "float32", "shape": [4], "names": ["one name too few"]},
    },
}


def write_info(root: Path, **changes: Any) -> Path:
    (root / "meta").mkdir(exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps(INFO | changes))
    return root


def test_files_are_numbered_as_lerobot_does(tmp_path: Path):
    last = FilePlace(0, 999)
    assert (FilePlace().next(), last.next()) == (FilePlace(0, 1), FilePlace(1, 0))
    assert last.data_path(tmp_path) == tmp_path / "data/chunk-000/file-999.parquet"
    assert last.next().video_path(tmp_path, "cam") == tmp_path / "videos/cam/chunk-001/file-000.mp4"
    assert FilePlace(2, 3).episodes_path(tmp_path) == tmp_path / "meta/episodes/chunk-002/file-003.parquet"


def test_features_are_read_with_their_names_wherever_they_lie(tmp_path: Path):
    info = read_info(write_info(tmp_path))
    assert info.fps == 10.0
    assert info.features == {
        "observation.images.top": Feature("video", (48, 64, 3), None),
        "observation.images.depth": Feature("video", (48, 64, 1), None, is_depth=True),
        "observation.state": Feature("float32", (2,), ("left", "right")),
        "action": Feature("float32", (4,), None),
    }
    assert [key for key, feature in info.features.items() if feature.is_camera] == ["observation.images.top"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"codebase_version": "v2.1"}, "got v2.1; older sets become it by LeRobot's own convert"),
        ({"data_path": "{chunk_index.__class__}"}, "data_path must be 'data/chunk"),
        ({"data_path": "{chunk_index:999999999d}"}, "data_path must be 'data/chunk"),
        ({"features": {"../../secret": {"dtype": "video", "shape": [3]}}}, "cannot be '../../secret'"),
        ({"features": {"": {"dtype": "video", "shape": [3]}}}, "part of paths and cannot be ''"),
        ({"features": {"action": {"dtype": "float32"}}}, "KeyError: 'shape'"),
        ({"features": []}, "does not describe a data set"),
        ({"fps": 0}, "fps must be positive, it is 0"),
        ({"fps": "often"}, "could not convert string"),
    ],
)
def test_refuses_descriptions_that_it_cannot_trust(tmp_path: Path, changes: dict[str, Any], complaint: str):
    with pytest.raises(ValueError, match=complaint):
        read_info(write_info(tmp_path, **changes))


def test_refuses_files_that_are_no_description(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="a folder with meta, data and videos"):
        read_info(tmp_path)
    (write_info(tmp_path) / "meta" / "info.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="does not describe a data set"):
        read_info(tmp_path)
    (tmp_path / "meta" / "info.json").write_bytes(b" " * (2**24 + 1))
    with pytest.raises(ValueError, match="16777217 bytes; a description has at most 16777216"):
        read_info(tmp_path)
