import itertools

import numpy as np
import pytest

from data_tools.document_config import DocumentConfig
from data_tools.documents import Document, Image, Text, frames_of
from data_tools.media_documents import (
    CaptionBuilder,
    QuestionBuilder,
    TextBuilder,
    VideoBuilder,
    cut_between_words,
)
from tests.data_tools.recordings import HELD_OUT_WORDS, drive, drives


def build_many(builder, count: int) -> list[Document]:
    rng = np.random.default_rng(0)
    return [builder.build(rng=rng) for _ in range(count)]


def test_captions_come_both_ways_and_only_the_second_is_learned():
    config = DocumentConfig(condition_dropout=0.2)
    orders = {"caption": 0, "frame": 0, "alone": 0}
    for document in build_many(CaptionBuilder(drives(), config, held_out=False), 2000):
        match document.context:
            case (Image(is_target=False), Text(weight=1.0)):
                orders["frame"] += 1
            case (Text(weight=0.0), Image(is_target=True)):
                orders["caption"] += 1
            case (Image(is_target=True),):
                orders["alone"] += 1
            case other:
                pytest.fail(f"unexpected {other}")
    assert abs(orders["frame"] / 2000 - 0.5) < 0.04
    assert abs(orders["alone"] / (orders["alone"] + orders["caption"]) - 0.2) < 0.04


def test_a_question_is_given_and_its_answer_learned():
    image, question, answer = build_many(QuestionBuilder(drives(), DocumentConfig(), held_out=False), 1)[
        0
    ].context
    assert isinstance(image, Image)
    assert (question, answer) == (Text("go on?", 0.0), Text("yes", 1.0))
    assert image.frame.frame == 2


@pytest.mark.parametrize("builder", [CaptionBuilder, QuestionBuilder])
def test_held_out_wordings_stay_out(builder):
    for held_out in (False, True):
        documents = build_many(builder(drives(), DocumentConfig(), held_out=held_out), 50)
        texts = [document.context[0] if isinstance(document.context[0], Text) else document.context[1]
                 for document in documents if len(document.context) > 1]  # fmt: skip
        assert {HELD_OUT_WORDS in text.text for text in texts if isinstance(text, Text)} == {held_out}


def test_video_is_evenly_spaced_targets_inside_one_trajectory():
    config = DocumentConfig(max_video_frames=5, video_strides=[1, 3])
    trajectories, strides, used = drives(), set(), set()
    for document in build_many(VideoBuilder(trajectories, config), 300):
        keys = frames_of(document)
        used.add(keys[0].trajectory)
        steps = {later.frame - earlier.frame for earlier, later in itertools.pairwise(keys)}
        assert len(steps) == 1
        strides |= steps
        assert 0 <= keys[0].frame <= keys[-1].frame < trajectories[keys[0].trajectory].num_frames
        assert all(isinstance(segment, Image) and segment.is_target for segment in document.context)
        assert len(keys) == 5 or (keys[0].trajectory == 3 and len(keys) == 3)
    assert strides == {1, 3}
    assert used == {0, 1, 2, 3}


def test_video_of_two_frames_is_both_of_them():
    document = build_many(
        VideoBuilder([drive(2, seed=1, with_texts=False)], DocumentConfig(video_strides=[4])), 1
    )[0]
    assert [key.frame for key in frames_of(document)] == [0, 1]


def test_pieces_of_text_are_whole_words_of_their_source():
    words = [f"word{number:03d}" for number in range(200)]
    config = DocumentConfig(max_characters=60)
    seen = set()
    for document in build_many(TextBuilder([" ".join(words), "short one", "  "], config), 600):
        (text,) = document.context
        assert isinstance(text, Text)
        assert text.weight == 1.0
        assert 0 < len(text.text) <= 60
        assert text.text == "short one" or set(text.text.split()) <= set(words)
        seen |= set(text.text.split())
    assert seen >= set(words)


def test_a_text_without_white_space_is_cut_within_a_word():
    assert cut_between_words("abcdefghij", 3, 4) == "defg"


def test_builders_refuse_data_without_what_they_need():
    bare = [drive(5, seed=1, with_texts=False)]
    with pytest.raises(ValueError, match="caption with held_out=False"):
        CaptionBuilder(bare, DocumentConfig(), held_out=False)
    with pytest.raises(ValueError, match="two frames"):
        VideoBuilder([], DocumentConfig())
    with pytest.raises(ValueError, match="need text"):
        TextBuilder([" \n"], DocumentConfig())
