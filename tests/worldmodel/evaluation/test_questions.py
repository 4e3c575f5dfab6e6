"""Questions: a model that sees is right, one that does not is no better than its baselines."""

import numpy as np
import pytest

from data_tools.trajectory import FrameText, TextKind, Trajectory, write_trajectory
from tests.worldmodel.evaluation.fakes import Mute, Seer
from worldmodel.evaluation import questions
from worldmodel.evaluation.asked import Asked, candidate_answers, majority_answers, with_other_pictures
from worldmodel.evaluation.protocols import AnswerNats, Answers, Captions, Draws
from worldmodel.evaluation.questions import QuestionsConfig, evaluate, word_f1
from worldmodel.evaluation.scenes import draw_random, draw_scene


def config(**settings: object) -> QuestionsConfig:
    defaults = {"model": "nano", "out": "", "num_scenes": 24, "scene_size": 48, "at_once": 7}
    return QuestionsConfig(**(defaults | settings))  # pyright: ignore


def values(rows: list) -> dict[tuple[str, str], float]:
    return {(row.measure, row.subset): row.value for row in rows}


def test_fakes_and_models_are_told_by_what_they_can_do():
    for protocol in (Draws, Captions, Answers, AnswerNats):
        assert isinstance(Seer(), protocol) and not isinstance(object(), protocol)


def test_a_model_that_sees_is_right_about_scenes_and_draws_them():
    found = values(evaluate(Seer(), config())[0])
    for kind in ("all", "count", "presence", "colour", "shape", "place"):
        assert found["scenes/question/accuracy/generated", kind] == 1
    assert found["scenes/question/accuracy/chosen", "all"] == 1
    for way in ("generated", "chosen"):
        assert found[f"scenes/question/accuracy/{way}, other pictures", "all"] < 0.6
        assert found[f"scenes/question/accuracy/{way} - {way}, other pictures", "all"] > 0.4
    assert found["scenes/caption/word_f1/model", "all"] == 1
    assert found["scenes/drawn_things_f1/model", "all"] == 1
    assert found["scenes/drawn_things_f1/other captions", "all"] < 0.2


def test_a_model_that_sees_nothing_gains_nothing_from_pictures():
    found = values(evaluate(Mute(), config())[0])
    for way in ("generated", "chosen"):
        assert found[f"scenes/question/accuracy/{way} - {way}, other pictures", "all"] == 0
    assert found["scenes/question/accuracy/generated - majority", "all"] < 0
    assert found["scenes/drawn_things_f1/model", "all"] == 0
    assert found["scenes/caption/word_f1/model", "all"] == 0


def test_recordings_are_asked_what_lies_beside_their_frames(tmp_path):
    for number in range(3):
        scenes = [draw_random(rng=np.random.default_rng(10 * number + k)) for k in range(2)]
        names = ("zero", "one", "two", "three", "four")
        texts = [
            FrameText(
                frame=frame,
                kind=TextKind.question,
                text="how many shapes are there?",
                answer=names[len(scene.things)],
            )
            for frame, scene in enumerate(scenes)
        ]
        texts.append(FrameText(frame=1, kind=TextKind.caption, text=scenes[1].caption))
        frames = np.stack([draw_scene(scene, size=96) for scene in scenes])
        recording = Trajectory(
            name=f"r{number}",
            place="p",
            frames=frames,
            poses=None,
            times_s=np.arange(2.0),
            texts=tuple(texts),
        )
        write_trajectory(recording, tmp_path)
    rows, identity = evaluate(Seer(), config(num_scenes=0, data=str(tmp_path)))
    found = values(rows)
    assert found["recordings/question/accuracy/generated", "all"] == 1
    assert found["recordings/caption/word_f1/model", "all"] == 1
    assert {row.n for row in rows if row.measure == "recordings/question/accuracy/generated"} == {6}
    assert len(identity) == 16


def test_nothing_to_ask_is_refused():
    with pytest.raises(ValueError, match="nothing to ask"):
        evaluate(Seer(), config(num_scenes=0))


def test_the_command_writes_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(questions, "open_generator", lambda model, dtype, seed: Seer())
    rows = questions.run(config(out=str(tmp_path), num_scenes=4))
    assert rows and (tmp_path / "results.parquet").is_file()


def item(answer: str, group: str, question: str = "q", kind: str = "k") -> Asked:
    return Asked(lambda: np.zeros((1, 1, 3), np.uint8), question, answer, kind, group)


def test_majority_is_by_wording_and_candidates_by_kind():
    items = [item("Yes", "a"), item("yes.", "b"), item("no", "c"), item("red", "a", "other", "k")]
    assert majority_answers(items) == ["yes", "yes", "yes", "red"]
    assert candidate_answers(items)[0] == ["Yes", "no", "red", "yes."]


def test_exchanged_pictures_are_of_other_groups():
    pictures = [np.full((1, 1, 3), number, np.uint8) for number in range(6)]
    items = [Asked(lambda n=n: pictures[n], "q", "a", "k", str(n // 2)) for n in range(6)]
    for seed in range(20):
        for own, other in zip(
            items, with_other_pictures(items, rng=np.random.default_rng(seed)), strict=True
        ):
            assert int(other.picture()[0, 0, 0]) // 2 != int(own.group) and other.answer == own.answer


def test_word_f1_by_hand():
    assert word_f1("A red door.", "a door, a wall") == pytest.approx(2 * 2 / (3 + 4))
    assert word_f1("", "") == 1
