import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_tools.documents import FrameKey
from tests.worldmodel.representation.synthetic import TINY, make_trajectory
from worldmodel.representation.cache import FrameCache, LatentCache, fill, identity_of, starts_of
from worldmodel.representation.rae import RaeRepresentation

LENGTHS = (5, 2, 7)


@pytest.fixture
def trajectories():
    return [make_trajectory(f"walk_{index}", length, seed=index) for index, length in enumerate(LENGTHS)]


def test_frames_are_those_of_the_trajectories(trajectories, tmp_path):
    cache = FrameCache.build(trajectories, tmp_path, image_size=32)
    assert cache.starts.tolist() == [0, 5, 7, 14]
    alone = FrameCache.build(trajectories[2:], tmp_path, image_size=32)
    assert torch.equal(cache.at(torch.tensor([7, 13])), alone.at(torch.tensor([0, 6])))


def test_pairs_stay_within_a_trajectory(trajectories, tmp_path):
    cache = FrameCache.build(trajectories, tmp_path, image_size=32)
    assert cache.pair_starts(max_gap=3).tolist() == [0, 1, 7, 8, 9, 10]
    assert cache.pair_starts(max_gap=9).tolist() == []


def test_a_stopped_fill_goes_on_and_never_looks_complete(tmp_path):
    starts = np.array([0, 2, 5, 6])
    computed = []

    def compute(index: int) -> np.ndarray:
        if index == 2 and computed == [0, 1]:
            raise KeyboardInterrupt
        computed.append(index)
        return np.full((starts[index + 1] - starts[index], 3), index, dtype=np.float32)

    arguments = {"starts": starts, "shape": (6, 3), "dtype": "float32", "compute": compute}
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, "rows", "abc", **arguments)
    assert not (tmp_path / "rows-abc.npy").exists()
    computed.append(-1)
    path = fill(tmp_path, "rows", "abc", **arguments)
    assert computed == [0, 1, -1, 2]
    np.testing.assert_array_equal(np.load(path)[:, 0], [0, 0, 1, 1, 1, 2])
    shown = [entry.name for entry in tmp_path.iterdir() if not entry.name.startswith(".")]
    assert shown == ["rows-abc.npy"]


def test_a_progress_note_without_its_array_is_not_believed(tmp_path):
    (tmp_path / "rows-abc.json").write_text(json.dumps({"num_done": 1}))
    path = fill(
        tmp_path, "rows", "abc", starts=np.array([0, 1]), shape=(1, 2), dtype="uint8",
        compute=lambda index: np.full((1, 2), 7, dtype=np.uint8),
    )  # fmt: skip
    assert np.load(path).tolist() == [[7, 7]]


def test_a_progress_note_that_outlived_its_array_is_gone_before_a_new_one_is_begun(tmp_path):
    (tmp_path / "rows-abc.json").write_text(json.dumps({"num_done": 1}))

    def killed(index: int) -> np.ndarray:
        raise KeyboardInterrupt

    arguments = {"starts": np.array([0, 1, 2]), "shape": (2, 2), "dtype": "uint8"}
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, "rows", "abc", **arguments, compute=killed)
    path = fill(
        tmp_path, "rows", "abc", **arguments, compute=lambda index: np.full((1, 2), 7, dtype=np.uint8)
    )
    assert np.load(path).tolist() == [[7, 7], [7, 7]]


def test_latents_looked_up_are_those_encoded(trajectories, tmp_path):
    representation = RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(0))
    frames = FrameCache.build(trajectories, tmp_path, image_size=32)
    latents = LatentCache.build(representation, frames, tmp_path, identity="one")
    found = latents.lookup([FrameKey(2, 6), FrameKey(0, 1)])
    expected = representation.encode(frames.at(torch.tensor([13, 1])))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert latents.lookup([]).shape == (0, 4, 64)


@pytest.mark.parametrize("key", [FrameKey(1, 2), FrameKey(0, -1), FrameKey(3, 0), FrameKey(-1, 0)])
def test_keys_outside_are_refused(key, trajectories, tmp_path):
    representation = RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(0))
    frames = FrameCache.build(trajectories, tmp_path, image_size=32)
    latents = LatentCache.build(representation, frames, tmp_path, identity="one")
    with pytest.raises(IndexError, match="built from"):
        latents.lookup([FrameKey(0, 0), key])


def test_identity_tells_recordings_apart(trajectories):
    assert identity_of(trajectories) != identity_of(trajectories[::-1])
    assert identity_of(trajectories) == identity_of(list(trajectories))


@pytest.mark.parametrize("changed", [0, 3, 6])
def test_a_recording_made_anew_with_other_pixels_is_another_one(trajectories, tmp_path, changed):
    before = FrameCache.build(trajectories, tmp_path, image_size=32)
    frames = np.array(trajectories[2].frames)
    frames[changed] ^= 255
    anew = [*trajectories[:2], replace(trajectories[2], frames=frames)]
    after = FrameCache.build(anew, tmp_path, image_size=32)
    assert after.identity == identity_of(anew) != before.identity
    assert not torch.equal(after.at(torch.tensor([7 + changed])), before.at(torch.tensor([7 + changed])))


def test_no_trajectory_is_refused():
    with pytest.raises(ValueError, match="at least one trajectory"):
        starts_of([])
