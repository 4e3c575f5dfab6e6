import numpy as np
import pytest

from data_tools.anchors import Anchors, context_images
from data_tools.documents import FrameKey
from tests.data_tools.recordings import drive, drives


def test_anchors_are_all_frames_with_room_after_them():
    anchors = Anchors(drives(), room=11)
    found = [anchors[number] for number in range(anchors.num_anchors)]
    # 53 - 11 and 31 - 11 frames; the second has no poses, the last is too short and gives its first frame.
    expected = [FrameKey(0, frame) for frame in range(42)] + [FrameKey(2, frame) for frame in range(20)]
    assert found == [*expected, FrameKey(3, 0)]


def test_every_anchor_is_equally_likely():
    anchors = Anchors([drive(5, seed=1), drive(7, seed=2)], room=2)
    rng = np.random.default_rng(0)
    counts = {}
    for _ in range(8000):
        key = anchors.draw(rng=rng)
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 8
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_context_ends_at_the_anchor_and_begins_no_earlier_than_the_trajectory():
    assert [image.frame for image in context_images(FrameKey(3, 5), 3)] == [FrameKey(3, i) for i in (3, 4, 5)]
    assert [image.frame.frame for image in context_images(FrameKey(3, 1), 4)] == [0, 1]


def test_data_that_cannot_make_a_document_is_refused():
    with pytest.raises(ValueError, match="none of 1 trajectories has two frames and poses"):
        Anchors([drive(5, seed=1, with_poses=False)], room=2)
