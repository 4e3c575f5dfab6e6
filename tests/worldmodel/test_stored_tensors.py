"""Laws of tensors in shards: any rows come back from any shards, and what is missing is named."""

from pathlib import Path

import pytest
import torch

from worldmodel.pieces import Piece, Place
from worldmodel.stored_tensors import StoredTensors, write_shard
from worldmodel.tensor_file import write_tensors

WHOLE = {
    "matrix": torch.arange(35.0).reshape(5, 7),
    "experts": torch.arange(24.0).reshape(2, 3, 4),
    "step": torch.tensor(3.0),
    "all": torch.arange(6, dtype=torch.int64),
}


def write(folder: Path, *, count: int) -> Path:
    for rank in range(count):
        pieces = {}
        for name, tensor in WHOLE.items():
            is_whole = name in ("step", "all")
            place = (
                Place.whole(tensor.shape) if is_whole else Place.of_rank(tensor.shape, rank=rank, count=count)
            )
            rows = tensor if is_whole else tensor[place.start : place.start + place.num_rows]
            pieces[name] = Piece(place, rows)
        write_shard(folder, "model", pieces, rank=rank, count=count)
    return folder


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("readers", [1, 2, 4])
def test_any_number_of_ranks_reads_what_any_number_wrote(tmp_path, count, readers):
    stored = StoredTensors(write(tmp_path, count=count), "model")
    assert stored.shapes == {name: tuple(tensor.shape) for name, tensor in WHOLE.items()}
    for name in ("matrix", "experts"):
        places = [Place.of_rank(WHOLE[name].shape, rank=rank, count=readers) for rank in range(readers)]
        assert torch.equal(torch.cat([stored.read(name, place) for place in places]), WHOLE[name])
    for name, tensor in stored.read_whole().items():
        assert torch.equal(tensor, WHOLE[name]) and tensor.dtype == WHOLE[name].dtype


def test_one_file_without_shards_is_read_too(tmp_path):
    write_tensors(tmp_path / "model.safetensors", WHOLE)
    stored = StoredTensors(tmp_path, "model")
    assert torch.equal(stored.read("matrix", Place((5, 7), 3, 2)), WHOLE["matrix"][3:])


def test_other_names_and_shapes_are_refused_by_name(tmp_path):
    stored = StoredTensors(write(tmp_path, count=2), "model")
    needed = stored.shapes | {"matrix": (5, 8), "more": (1,)}
    del needed["all"]
    with pytest.raises(
        ValueError, match="of another architecture or vocabulary: more is missing; all is unknown; mat"
    ):
        stored.check(needed)
    with pytest.raises(ValueError, match=r"matrix has the shape \(5, 7\), needed was \(5, 8\)"):
        stored.read_all(
            {name: Place.whole(WHOLE[name].shape) for name in WHOLE} | {"matrix": Place((5, 8), 0, 5)}
        )


@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        (lambda path: path.unlink(), FileNotFoundError, r"1 of 2 shards of model: model-00002-of-00002"),
        (lambda path: path.write_bytes(b"\x10" * 40), ValueError, "is truncated or no safetensors"),
        (
            lambda path: write_tensors(path, {"matrix": WHOLE["matrix"]}),
            ValueError,
            r"experts has \(2, 3, 4\) entries, the files hold 1 rows of it",
        ),
        (
            lambda path: write_tensors(path, {"matrix": torch.ones(2, 2)}),
            ValueError,
            "another shape than in the other shards",
        ),
    ],
)
def test_shards_that_are_missing_or_damaged_are_refused(tmp_path, damage, error, match):
    write(tmp_path, count=2)
    damage(tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(error, match=match):
        StoredTensors(tmp_path, "model")


def test_a_folder_without_the_group_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors in .*, and no shards"):
        StoredTensors(tmp_path, "model")
