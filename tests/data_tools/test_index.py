import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_tools.evaluation_index import IndexKind, match_index, read_index
from data_tools.evaluation_windows import IndexConfig
from data_tools.index import IndexCommand, make_indices
from data_tools.trajectory import read_trajectories

SMALL = IndexConfig(num_time=3, num_rollout=2, num_navigation=5)


def write_set(root: Path, lengths: dict[str, int]) -> Path:
    for name, length in lengths.items():
        (root / name).mkdir(parents=True)
        for index in range(length):
            Image.new("RGB", (4, 3)).save(root / name / f"{index}.jpg")
        poses = {"position": np.zeros((length, 2)), "yaw": np.zeros(length)}
        (root / name / "traj_data.pkl").write_bytes(pickle.dumps(poses))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("data"), {"a": 80, "b": 90, "c": 70})


def test_both_forms_of_all_kinds_are_written_and_agree(data: Path, tmp_path: Path):
    command = IndexCommand(data=str(data), out=str(tmp_path), period_s=0.25, seed=1, index=SMALL)
    indices = make_indices(command)
    assert [(index.kind, len(index.windows)) for index in indices] == [
        (IndexKind.time, 3),
        (IndexKind.rollout, 2),
        (IndexKind.navigation, 5),
    ]
    trajectories = read_trajectories(data, period_s=0.25).trajectories
    for index, pickled in zip(indices, ("time", "rollout", "navigation_eval"), strict=True):
        assert read_index(tmp_path / f"{index.kind.name}.jsonl") == index
        assert read_index(tmp_path / f"{pickled}.pkl").windows == index.windows
        assert match_index(read_index(tmp_path / f"{index.kind.name}.jsonl"), trajectories).is_same_data


def test_names_choose_and_kinds_choose(data: Path, tmp_path: Path):
    (tmp_path / "traj_names.txt").write_text("b\n")
    command = IndexCommand(
        data=str(data),
        out=str(tmp_path / "out"),
        kinds=[IndexKind.navigation],
        names=str(tmp_path / "traj_names.txt"),
        period_s=0.25,
        nwm_pickles=False,
        index=SMALL,
    )
    (index,) = make_indices(command)
    assert {window.trajectory for window in index.windows} == {"b"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["navigation.jsonl"]


def test_nothing_is_written_if_one_index_is_impossible(data: Path, tmp_path: Path):
    index = replace(SMALL, num_navigation=1000)
    command = IndexCommand(data=str(data), out=str(tmp_path / "out"), period_s=0.25, index=index)
    with pytest.raises(ValueError, match="navigation needs 1000 windows; the 3 trajectories have 27"):
        make_indices(command)
    assert not (tmp_path / "out").exists()


def test_refuses_no_kinds_and_kinds_given_twice():
    for kinds in ([], [IndexKind.time, IndexKind.time]):
        with pytest.raises(ValueError, match="each kind at most once"):
            IndexCommand(data="d", out="o", kinds=kinds)
