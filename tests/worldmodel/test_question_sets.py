"""Sets of questions in the forms of LLaVA, Cambrian and ours."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_tools.documents import Document, FrameKey, Image, Kind, Text, frames_of
from data_tools.trajectory import FrameText, TextKind, Trajectory, write_trajectory
from tests.worldmodel.evaluation.fakes import write_json, write_pictures
from worldmodel.question_sets import read_question_set


def conversation(image: str | None, *turns: str) -> dict:
    said = [{"from": ("human", "gpt")[n % 2], "value": turn} for n, turn in enumerate(turns)]
    return {"id": "1", "conversations": said} | ({} if image is None else {"image": image})


def test_conversations_of_llava_become_documents_that_learn_answers(tmp_path):
    write_pictures([tmp_path / "coco" / "1.jpg", tmp_path / "coco" / "2.jpg"])
    write_json(
        tmp_path / "llava.json",
        [
            conversation("coco/2.jpg", "<image>\nWhat is it?", "A cat.", "Which colour?", "red"),
            conversation(None, "What is two and two?", "four"),
            conversation("coco/1.jpg", "Where?\n<image>", "here"),
            conversation("coco/2.jpg", "<image>\nAgain?", "yes"),
        ],
    )
    found = read_question_set(tmp_path)
    assert found.documents[0] == Document(
        Kind.question,
        (
            Image(FrameKey(0, 0), is_target=False),
            Text("What is it?", 0.0),
            Text("A cat.", 1.0),
            Text("Which colour?", 0.0),
            Text("red", 1.0),
        ),
    )
    assert found.documents[1].context == (Text("What is two and two?", 0.0), Text("four", 1.0))
    assert [frames_of(each) for each in found.documents[2:]] == [[FrameKey(1, 0)], [FrameKey(0, 0)]]
    assert found.trajectories[1].frames[0].shape == (12, 12, 3)


def test_lines_of_cambrian_and_ours_are_read(tmp_path):
    write_pictures([tmp_path / "a.png"])
    lines = [conversation("a.png", "<image>\nA?", "b"), {"image": "a.png", "question": "Q?", "answer": "r"}]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_question_set(tmp_path)
    assert [each.context[1:] for each in found.documents] == [
        (Text("A?", 0.0), Text("b", 1.0)),
        (Text("Q?", 0.0), Text("r", 1.0)),
    ]
    (tmp_path / "set.jsonl").write_text(json.dumps(lines[0]) + "\n")
    assert read_question_set(tmp_path).identity != found.identity


def test_separators_inside_a_text_end_no_line(tmp_path):
    line = {"question": "one\u2028two\u0085three?", "answer": "four"}
    (tmp_path / "set.jsonl").write_text(json.dumps(line, ensure_ascii=False) + "\n", encoding="utf-8")
    (document,) = read_question_set(tmp_path).documents
    assert document.context == (Text(line["question"], 0.0), Text("four", 1.0))


def test_recordings_give_their_questions_but_those_held_out(tmp_path):
    texts = (
        FrameText(frame=1, kind=TextKind.question, text="how far?", answer="near"),
        FrameText(frame=0, kind=TextKind.question, text="who?", answer="you", held_out=True),
        FrameText(frame=0, kind=TextKind.caption, text="a wall"),
    )
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    recording = Trajectory(
        name="r", place="p", frames=frames, poses=None, times_s=np.arange(2.0), texts=texts
    )
    write_trajectory(recording, tmp_path)
    (document,) = read_question_set(tmp_path).documents
    assert frames_of(document) == [FrameKey(0, 1)] and document.context[2] == Text("near", 1.0)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([conversation(None, "question alone")], "pairs"),
        (
            [{"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]}],
            "human and gpt",
        ),
        ([{"image": "a.png", "question": " ", "answer": "b"}], "empty"),
        ([{"question": "a"}], "example 0"),
        ({"question": "a"}, "no list"),
    ],
)
def test_examples_of_another_form_are_refused(tmp_path, content, match):
    write_json(tmp_path / "set.json", content)
    with pytest.raises(ValueError, match=match):
        read_question_set(tmp_path)


def test_missing_pictures_and_examples_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no examples"):
        read_question_set(tmp_path)
    write_json(tmp_path / "set.json", [conversation("gone.png", "<image>A?", "b")])
    with pytest.raises(FileNotFoundError, match=r"1 of 1.*gone\.png"):
        read_question_set(tmp_path)
