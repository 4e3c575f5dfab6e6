"""VQA: the official accuracy, and the command on tiny files of the true form."""

import json
from pathlib import Path

import pytest

from tests.worldmodel.evaluation.fakes import Mute, write_json, write_pictures
from worldmodel.evaluation import vqa
from worldmodel.evaluation.benchmark import Stage
from worldmodel.evaluation.vqa import VqaConfig, majority, read_questions
from worldmodel.evaluation.vqa_accuracy import accuracy, normalise


@pytest.mark.parametrize(
    ("num_same", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_the_accuracy_of_an_answer_that_some_of_ten_gave(num_same, expected):
    people = ["blue"] * num_same + [f"other {number}" for number in range(10 - num_same)]
    assert accuracy("blue", people) == pytest.approx(expected)


def test_it_is_the_mean_over_all_subsets_of_nine():
    people = ["a cat"] * 2 + ["dog"] * 8
    slow = [
        min(sum(normalise(each) == "cat" for each in people[:left] + people[left + 1 :]) / 3, 1)
        for left in range(10)
    ]
    assert accuracy("The cat.", people) == pytest.approx(sum(slow) / 10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two", "2"),
        ("the red, car", "red car"),
        ("dont know", "don't know"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("yes.", "yes"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("none", "0"),
        ("an\napple", "apple"),
    ],
)
def test_normal_forms(text, expected):
    assert normalise(text) == expected


def test_people_who_agree_are_compared_as_they_are():
    assert accuracy("yes", ["yes"] * 10) == 1
    assert accuracy("Yes", ["yes"] * 10) == 0
    with pytest.raises(ValueError, match="at least one person"):
        accuracy("yes", [])


def config(folder: Path, **settings: object) -> VqaConfig:
    questions = [
        {"question_id": 10 * image + n, "image_id": image, "question": f"question {n}?"}
        for image in (42, 73)
        for n in range(2)
    ]
    said = [["yes"] * 10, ["2"] * 6 + ["3"] * 4, ["no"] * 8 + ["yes"] * 2, ["2"] * 10]
    annotations = [
        {
            "question_id": each["question_id"],
            "image_id": each["image_id"],
            "question_type": ("is the", "how many")[index % 2],
            "answer_type": ("yes/no", "number")[index % 2],
            "multiple_choice_answer": said[index][0],
            "answers": [
                {"answer": a, "answer_confidence": "yes", "answer_id": i + 1}
                for i, a in enumerate(said[index])
            ],
        }
        for index, each in enumerate(questions)
    ]
    write_pictures([folder / "val2014" / f"COCO_val2014_{image:012}.jpg" for image in (42, 73)])
    defaults = {
        "model": "nano",
        "data": str(write_json(folder / "questions.json", {"questions": questions})),
        "annotations": str(write_json(folder / "annotations.json", {"annotations": annotations})),
        "photos": str(folder / "val2014"),
        "out": str(folder / "out"),
        "size": 8,
    }
    return VqaConfig(**(defaults | settings))  # pyright: ignore


def test_the_command_answers_in_the_official_form_and_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(vqa, "open_generator", lambda model, dtype, seed: Mute())
    found = {(row.measure, row.subset): row.value for row in vqa.run(config(tmp_path))}
    written = json.loads((tmp_path / "out" / "answers" / "model.json").read_text())
    assert written[3] == {"question_id": 731, "answer": "yes"}
    assert found["vqa_accuracy/model", "all"] == pytest.approx(100 * (1 + 0 + 0.6 + 0) / 4)
    assert found["vqa_accuracy/model", "answer_type: number"] == 0
    # Of "is the" questions most people said yes (12 of 20), of "how many" 2.
    assert found["vqa_accuracy/majority", "all"] == pytest.approx(100 * (1 + 1 + 0.6 + 1) / 4)
    assert found["vqa_accuracy/model - other pictures", "all"] == 0
    scored = vqa.run(config(tmp_path, stage=Stage.score, model=None))
    assert {(row.measure, row.subset): row.value for row in scored} == found


def test_answers_of_others_are_refused_and_scores_carry_the_model_that_answered(tmp_path, monkeypatch):
    monkeypatch.setattr(vqa, "open_generator", lambda model, dtype, seed: Mute())
    vqa.run(config(tmp_path, stage=Stage.generate))
    vqa.run(config(tmp_path, stage=Stage.score, model=None))
    assert json.loads((tmp_path / "out" / "results.json").read_text())["model"] == "nano"
    for stage in (Stage.both, Stage.score):
        with pytest.raises(ValueError, match="needed seed 1, got 0"):
            vqa.run(config(tmp_path, stage=stage, seed=1))
        with pytest.raises(ValueError, match="texts_hash"):
            vqa.run(config(tmp_path, stage=stage, size=9))


def test_majority_is_by_type_of_question(tmp_path):
    assert majority(read_questions(config(tmp_path))) == ["yes", "2", "yes", "2"]


def test_missing_answers_annotations_and_forms_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(vqa, "open_generator", lambda model, dtype, seed: Mute())
    with pytest.raises(FileNotFoundError, match="stage=generate"):
        vqa.run(config(tmp_path, stage=Stage.score))
    write_json(tmp_path / "out" / "answers" / "model.json", [{"question_id": 420, "answer": "x"}])
    with pytest.raises(ValueError, match="no answer to 3 of 4"):
        vqa.run(config(tmp_path, stage=Stage.score))
    monkeypatch.setattr(vqa, "open_generator", None)  # nothing is answered then
    with pytest.raises(ValueError, match="annotations=FILE"):
        vqa.run(config(tmp_path, annotations=None))
    with pytest.raises(ValueError, match="form of VQA"):
        read_questions(config(tmp_path, data=str(write_json(tmp_path / "a.json", [1]))))
