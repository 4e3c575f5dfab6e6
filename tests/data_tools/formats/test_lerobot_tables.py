"""Parquet files of LeRobot sets: rows of one episode wherever they lie, images in cells, tasks for pandas."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_tools.formats.lerobot_layout import FilePlace
from data_tools.formats.lerobot_tables import (
    EpisodeWriter,
    ImageColumn,
    RowReader,
    RowWriter,
    to_numpy,
    write_tasks,
)
from data_tools.recording import BadImage, EncodedImage, ImageStream


def columns(num_frames: int, episode: int) -> dict[str, np.ndarray]:
    state = np.random.default_rng(episode).normal(size=(num_frames, 3)).astype(np.float32)
    return {"observation.state": state, "episode_index": np.full(num_frames, episode)}


def test_an_episode_gets_its_own_rows_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written = [columns(2, 0), columns(5, 1), columns(3, 2)]
    writer = RowWriter(tmp_path)
    places = [writer.add(written[0]), writer.add(written[1])]
    monkeypatch.setattr("data_tools.formats.lerobot_tables.DATA_FILE_MB", 0)
    places.append(writer.add(written[2]))
    writer.close()
    assert places == [FilePlace(0, 0), FilePlace(0, 0), FilePlace(0, 1)]
    reader = RowReader(tmp_path)
    for episode in (2, 0, 1):
        read = reader.columns(places[episode], episode, ["observation.state"])
        assert read["observation.state"].tobytes() == written[episode]["observation.state"].tobytes()
    whole = np.concatenate([each["observation.state"] for each in written])
    np.testing.assert_array_equal(writer.read_back("observation.state"), whole)
    assert reader.groups(places[0], 1) == [1]


def write_rows(root: Path, table: pa.Table, **options: Any) -> Path:
    path = FilePlace().data_path(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


@pytest.mark.parametrize("statistics", [True, False])
def test_episodes_may_share_groups_of_rows(tmp_path: Path, statistics: bool):
    table = pa.table({"episode_index": [0, 0, 1, 1, 1, 2], "v": [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]})
    write_rows(tmp_path, table, row_group_size=4, write_statistics=statistics)
    reader = RowReader(tmp_path)
    assert reader.columns(FilePlace(), 1, ["v"])["v"].tolist() == [[2.0], [3.0], [4.0]]
    assert reader.groups(FilePlace(), 0) == ([0] if statistics else [0, 1])
    with pytest.raises(ValueError, match="holds no rows of it"):
        reader.columns(FilePlace(), 7, ["v"])
    with pytest.raises(ValueError, match="has no column 'w'"):
        reader.columns(FilePlace(), 1, ["w"])


def test_refuses_groups_that_would_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("data_tools.formats.lerobot_tables._MAX_GROUP_BYTES", 1500)
    values = np.random.default_rng(0).normal(size=(100, 2))
    state = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 2)
    write_rows(tmp_path, pa.table({"episode_index": [0] * 100, "v": state, "w": values[:, 0]}))
    reader = RowReader(tmp_path)
    assert reader.columns(FilePlace(), 0, ["w"])["w"].shape == (100,)
    with pytest.raises(ValueError, match="bytes in one group of rows, at most 1500"):
        reader.columns(FilePlace(), 0, ["v"])


def test_rows_without_episodes_are_refused(tmp_path: Path):
    write_rows(tmp_path, pa.table({"v": [1.0]}))
    with pytest.raises(ValueError, match="has no column 'episode_index'"):
        RowReader(tmp_path).groups(FilePlace(), 0)


@pytest.mark.parametrize(
    "values", [[[1.0, 2.0], [3.0]], [[1.0], None], ["a", "b"], [[[1.0]], [[2.0]]], [[1.0, 2.0], [3.0], [4.0]]]
)
def test_only_lists_of_equally_many_numbers_are_arrays(values: list[Any]):
    with pytest.raises(ValueError, match="lists of equally many, got"):
        to_numpy(pa.chunked_array([values]))


def test_numbers_that_are_missing_are_no_numbers():
    assert to_numpy(pa.chunked_array([[1, 2], [3]])).tolist() == [1, 2, 3]
    read = to_numpy(pa.chunked_array([[[1.0, None]], [[3.0, 4.0]]]))
    np.testing.assert_array_equal(read, [[1.0, np.nan], [3.0, 4.0]])


def test_rows_of_episodes_come_in_pieces(tmp_path: Path):
    writer = EpisodeWriter(tmp_path)
    rows = [{"episode_index": index, "tasks": ["go"], "stats/a/min": [float(index)]} for index in range(205)]
    for row in rows:
        writer.add(row)
    writer.close()
    path = tmp_path / "meta/episodes/chunk-000/file-000.parquet"
    place = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
    assert pq.read_table(path).to_pylist() == [row | place for row in rows]
    assert pq.read_metadata(path).num_row_groups == 3


def test_tasks_are_the_index_of_a_pandas_table(tmp_path: Path):
    pandas = pytest.importorskip("pandas")
    write_tasks(tmp_path / "meta" / "tasks.parquet", ["go ahead", "“türn”"])
    table = pandas.read_parquet(tmp_path / "meta" / "tasks.parquet")
    assert table.columns.tolist() == ["task_index"]
    assert int(table.loc["“türn”"].task_index) == 1
    assert table.iloc[0].name == "go ahead"


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (value, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def image_column(root: Path, cells: list[Any], *, episodes: list[int] | None = None) -> ImageColumn:
    episodes = [0] * len(cells) if episodes is None else episodes
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    path = write_rows(
        root, pa.table({"episode_index": episodes, "cam": pa.array(cells, kind)}), row_group_size=3
    )
    groups = tuple(range(-(-len(cells) // 3)))
    return ImageColumn(root, path, "cam", 0, groups, episodes.count(0))


def test_images_in_rows_are_those_of_the_episode(tmp_path: Path):
    cells = [{"bytes": png(20 * index)} for index in range(7)]
    stream = image_column(tmp_path, cells, episodes=[1, 0, 0, 0, 0, 0, 2])
    assert isinstance(stream, ImageStream) and len(stream) == 5
    chosen = list(stream.select([0, 2, 4]))
    assert [image.data for image in chosen if isinstance(image, EncodedImage)] == [png(20), png(60), png(100)]
    assert isinstance(chosen[1], EncodedImage) and chosen[1].decode()[0, 0].tolist() == [60, 0, 0]
    assert list(stream.select([])) == []


def test_paths_of_images_stay_inside_the_set(tmp_path: Path):
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.png").write_bytes(png(1))
    (tmp_path / "secret.png").write_bytes(png(2))
    (root / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    outside = ["../secret.png", str(tmp_path / "secret.png"), "images/link.png"]
    cells = [{"path": path} for path in ["images/a.png", *outside, "images/gone.png", "a\0b"]]
    stream = image_column(root, [*cells, {}, None])
    good, *bad = stream.select(range(8))
    assert isinstance(good, EncodedImage) and good.data == png(1)
    reasons = [image.reason if isinstance(image, BadImage) else "" for image in bad]
    assert all(
        f"'{path}' lies outside the data set" in reason
        for path, reason in zip(outside, reasons, strict=False)
    )
    assert "'images/gone.png' cannot be read" in reasons[3]
    assert "cannot be read" in reasons[4] and "neither bytes nor a path" in reasons[5]
    assert "cam of episode 0, image 7: needed bytes or a path, got NoneType" in reasons[6]


def test_images_beyond_the_rows_are_bad(tmp_path: Path):
    stream = image_column(tmp_path, [{"bytes": png(1)}])
    (bad,) = ImageColumn(tmp_path, stream.path, "cam", 0, (0,), 3).select([2])
    assert isinstance(bad, BadImage) and bad.reason.endswith("image 2: the rows end before")
