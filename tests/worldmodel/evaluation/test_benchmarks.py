"""GenEval, DPG-Bench and WISE on tiny files of their form, with judges that are programs."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.worldmodel.evaluation.fakes import Mute, judge_program, write_json, write_pictures
from worldmodel.evaluation import benchmark, dpg_bench, geneval, wise
from worldmodel.evaluation.benchmark import Stage
from worldmodel.evaluation.dpg_bench import DpgConfig, Proposition, item_score, read_propositions
from worldmodel.evaluation.geneval import Found, GenEvalConfig, check, relations
from worldmodel.evaluation.pictures import write_picture
from worldmodel.evaluation.results import hash_model
from worldmodel.evaluation.wise import WiseConfig, wi_score
from worldmodel.model_folder import resolve
from worldmodel.precision import Precision

GENEVAL = [
    {"tag": "counting", "include": [{"class": "dog", "count": 2}], "exclude": [{"class": "dog", "count": 3}]},
    {
        "tag": "position",
        "include": [
            {"class": "cat", "count": 1},
            {"class": "dog", "count": 1, "position": ["left of", 0]},
        ],
    },
    {"tag": "colors", "include": [{"class": "cat", "count": 1, "color": "red"}]},
]
DETECTOR = (
    "return {'objects': [{'class': 'dog', 'score': 0.95, 'box': [0, 0, 10, 10], 'color': 'red'},"
    " {'class': 'dog', 'score': 0.92, 'box': [2, 0, 12, 10]},"
    " {'class': 'dog', 'score': 0.5, 'box': [3, 0, 12, 10]},"
    " {'class': 'cat', 'score': 0.8, 'box': [50, 0, 60, 10], 'color': 'blue'}]}"
)


@pytest.fixture(autouse=True)
def mute(monkeypatch):
    monkeypatch.setattr(benchmark, "open_generator", lambda model, dtype, seed: Mute())


def values(rows: list) -> dict[str, float]:
    return {row.subset: row.value for row in rows}


def geneval_config(folder: Path, **settings: object) -> GenEvalConfig:
    prompts = [{**each, "prompt": f"a photo of {number}"} for number, each in enumerate(GENEVAL)]
    path = folder / "evaluation_metadata.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in prompts))
    defaults = {"model": "nano", "data": str(path), "out": str(folder / "out"), "num_samples": 2}
    return GenEvalConfig(**(defaults | settings))  # pyright: ignore


def test_geneval_draws_the_official_layout_and_scores_what_is_found(tmp_path):
    rows = geneval.run(geneval_config(tmp_path, judge=judge_program(tmp_path, DETECTOR)))
    images = tmp_path / "out" / "images"
    assert json.loads((images / "00002" / "metadata.jsonl").read_text())["tag"] == "colors"
    assert len(list(images.glob("0000?/samples/000?.png"))) == 6
    # Counting passes only because its third dog is below 0.9; the colour is wrong.
    found = values(rows[:-1])
    assert found == {"overall": pytest.approx(2 / 3), "counting": 1, "position": 1, "colors": 0}
    results = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert results[-1]["reason"] == "expected red cat>=1, found 0 red" and not results[-1]["correct"]
    official = geneval_config(
        tmp_path, stage=Stage.score, results=str(tmp_path / "out" / "results.jsonl"), model=None
    )
    assert values(geneval.run(official)[:-1]) == found


def test_geneval_without_detector_has_no_rows(tmp_path, capsys):
    assert geneval.run(geneval_config(tmp_path)) == []
    assert not (tmp_path / "out" / "results.json").exists()
    assert "no GenEval" in capsys.readouterr().err


def test_a_detector_chooses_among_all_colours_if_any_is_asked_for(tmp_path):
    geneval.run(geneval_config(tmp_path, num_samples=1))
    lines = (tmp_path / "out" / "requests.jsonl").read_text().splitlines()
    ten = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"]
    assert [json.loads(line)["colors"] for line in lines] == [[], [], ten]


def test_geneval_refuses_missing_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match="6 of 6"):
        geneval.run(geneval_config(tmp_path, stage=Stage.score))


def test_pictures_of_another_model_seed_or_prompt_are_refused(tmp_path):
    drawn = geneval_config(tmp_path, stage=Stage.generate)
    geneval.run(drawn)
    others = {
        "seed 1, got 0": replace(drawn, seed=1),
        "precision bfloat16, got float32": replace(drawn, precision=Precision.bfloat16),
        "texts_hash": replace(drawn, num_samples=1),
        "model_hash": replace(drawn, model=str(other_model(tmp_path))),
    }
    for match, config in others.items():
        for stage in (Stage.generate, Stage.score):
            with pytest.raises(ValueError, match=match) as raised:
                geneval.run(replace(config, stage=stage))
            assert "another `out`" in str(raised.value)


def other_model(folder: Path) -> Path:
    for name in ("model.json", "tokenizer.json"):
        write_json(folder / "other" / name, name)
    return folder / "other"


def test_scores_carry_the_model_that_drew(tmp_path):
    detector = judge_program(tmp_path, DETECTOR)
    geneval.run(geneval_config(tmp_path, stage=Stage.generate))
    geneval.run(geneval_config(tmp_path, stage=Stage.score, model=None, judge=detector))
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["model"] == "nano" and content["model_hash"] == hash_model(resolve("nano"))


def test_pictures_of_nobody_knows_whom_are_neither_finished_nor_named_after_a_model(tmp_path):
    detector = judge_program(tmp_path, DETECTOR)
    geneval.run(geneval_config(tmp_path, stage=Stage.generate))
    (tmp_path / "out" / "made_by.json").unlink()
    with pytest.raises(ValueError, match="empty"):
        geneval.run(geneval_config(tmp_path))
    with pytest.raises(ValueError, match="leave out model"):
        geneval.run(geneval_config(tmp_path, stage=Stage.score, judge=detector))
    assert geneval.run(geneval_config(tmp_path, stage=Stage.score, judge=detector, model=None))
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["model"] is content["model_hash"] is None
    (tmp_path / "out" / "made_by.json").write_text("[]")
    with pytest.raises(ValueError, match="no note"):
        geneval.run(geneval_config(tmp_path))


def test_answers_are_to_the_pictures_that_are_there(tmp_path):
    geneval.run(geneval_config(tmp_path, judge=judge_program(tmp_path, DETECTOR)))
    write_pictures([tmp_path / "out" / "images" / "00001" / "samples" / "0001.png"])
    with pytest.raises(ValueError, match="other requests"):
        geneval.run(geneval_config(tmp_path))


def test_what_cannot_judge_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(ValueError, match="empty list"):
        geneval.run(geneval_config(tmp_path, judge=[]))
    with pytest.raises(FileNotFoundError, match="no program"):
        geneval.run(geneval_config(tmp_path, judge=[str(tmp_path)]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("setting", ["at_once", "num_samples"])
def test_sizes_of_nothing_are_refused(tmp_path, setting):
    with pytest.raises(ValueError, match=f"{setting}.* at least 1"):
        geneval_config(tmp_path, **{setting: 0})


def test_pictures_that_are_there_are_not_drawn_again(tmp_path):
    config = geneval_config(tmp_path, stage=Stage.generate)
    geneval.run(config)
    path = tmp_path / "out" / "images" / "00000" / "samples" / "0000.png"
    path.write_bytes(b"mine")
    geneval.run(config)
    assert path.read_bytes() == b"mine"


def test_separators_inside_a_prompt_end_no_line(tmp_path):
    prompt = {**GENEVAL[0], "prompt": "one\u2028two\u0085three"}
    path = tmp_path / "a.jsonl"
    path.write_text((json.dumps(prompt, ensure_ascii=False) + "\n") * 2, encoding="utf-8")
    assert geneval.read_metadata(path) == [prompt, prompt]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 10, 10], {"left of"}),
        ([90, 0, 100, 10], {"right of"}),
        ([50, 40, 60, 50], {"below"}),
        ([0, 40, 10, 50], {"left of", "below"}),
        ([51, 0, 61, 10], set()),
        ([50, 0, 60, 10], set()),
    ],
)
def test_relations_of_boxes(box, expected):
    assert relations(np.array(box, dtype=float), np.array([50.0, 0.0, 60.0, 10.0])) == expected


def test_a_target_that_is_missing_has_no_relation():
    dog = Found("dog", 0.9, np.array([0.0, 0.0, 5.0, 5.0]), None)
    reasons = check({"dog": [dog]}, GENEVAL[1])
    assert reasons == ["expected cat>=1, found 0", "no target for dog to be left of"]


DPG_COLUMNS = (
    "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
    "question_natural_language\n"
)
DPG = """p0,a red dog,,1,0,entity,whole,entity - whole (dog),Is there a dog?
p0,a red dog,,2,1,attribute,color,"attribute - color (dog, red)",Is the dog red?
p0,a red dog,,3,"1, 2",global,,global - (style),Is it a photo?
17,a cat,,1,0,entity,whole,entity - whole (cat),Is there a cat?
"""


def dpg_config(folder: Path, **settings: object) -> DpgConfig:
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "dpg_bench.csv").write_text(DPG_COLUMNS + DPG)
    for name in ("p0", "17"):
        (folder / "prompts" / f"{name}.txt").write_text(f"prompt of {name}")
    defaults = {"model": "nano", "data": str(folder), "out": str(folder / "out")}
    return DpgConfig(**(defaults | settings))  # pyright: ignore


def test_dpg_draws_sheets_and_scores_answers(tmp_path):
    judge = judge_program(tmp_path, "return {'answer': 'no' if 'red' in request['question'] else 'Yes'}")
    rows = dpg_bench.run(dpg_config(tmp_path, judge=judge))
    with Image.open(tmp_path / "out" / "images" / "p0.png") as sheet:
        assert sheet.size == (48, 48)
    found = values(rows)
    # p0: the dog is there, it is not red, and so the third question counts as no.
    assert found["overall"] == pytest.approx(100 * (1 / 3 + 1) / 2)
    assert (found["entity"], found["attribute"], found["global"]) == (100, 0, 100)


def test_dpg_scores_sheets_that_others_drew(tmp_path):
    judge = judge_program(
        tmp_path,
        "from PIL import Image; pixel = Image.open(request['image']).getpixel((0, 0));"
        " return {'answer': 'yes' if pixel[0] else 'no'}",
    )
    config = dpg_config(tmp_path, stage=Stage.score, model=None, judge=judge)
    config.images.mkdir(parents=True)
    sheet = np.zeros((12, 12, 3), np.uint8)
    sheet[:6, 6:] = 200  # the second of four pictures
    for name in ("p0", "17"):
        Image.fromarray(sheet).save(config.images / f"{name}.png")
    assert values(dpg_bench.run(config))["overall"] == pytest.approx(25)


def test_dpg_scores_sheets_that_were_exchanged(tmp_path):
    judge = judge_program(
        tmp_path,
        "from PIL import Image; pixel = Image.open(request['image']).getpixel((0, 0));"
        " return {'answer': 'yes' if pixel[0] else 'no'}",
    )
    config = dpg_config(tmp_path, stage=Stage.score, model=None, judge=judge)
    for value, expected in ((0, 0), (200, 100)):
        for name in ("p0", "17"):
            write_picture(torch.full((12, 12, 3), value, dtype=torch.uint8), config.images / f"{name}.png")
            # Older than the pictures that were cut from the sheets before.
            os.utime(config.images / f"{name}.png", (0, 0))
        assert values(dpg_bench.run(config))["overall"] == expected


def test_a_no_is_handed_down_step_by_step():
    chain = [Proposition(n, (n - 1,) if n > 1 else (), "", "") for n in (1, 2, 3)]
    assert item_score(chain, {1: False, 2: True, 3: True}) == 0
    assert item_score(chain, {1: True, 2: True, 3: False}) == pytest.approx(2 / 3)


def test_a_dependency_on_nothing_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text(DPG_COLUMNS + DPG.replace(",2,1,", ",2,9,"))
    with pytest.raises(ValueError, match="depends on"):
        read_propositions(tmp_path / "a.csv")


def wise_config(folder: Path, numbers: list[int], **settings: object) -> WiseConfig:
    prompts = [
        {
            "prompt_id": n,
            "Prompt": f"prompt {n}",
            "Explanation": "why",
            "Category": "c",
            "Subcategory": "s",
        }
        for n in numbers
    ]
    path = write_json(folder / "data" / "some.json", prompts)
    defaults = {"model": "nano", "data": str(path.parent), "out": str(folder / "out")}
    return WiseConfig(**(defaults | settings))  # pyright: ignore


GRADES = (
    "return {'consistency': 2 if request['prompt'] == 'prompt 500' else 1,"
    " 'realism': 1, 'aesthetic_quality': 0}"
)


def test_wise_scores_categories_and_leaves_out_the_overall_score_of_a_part(tmp_path):
    rows = wise.run(wise_config(tmp_path, [500, 501, 950], judge=judge_program(tmp_path, GRADES)))
    assert (tmp_path / "out" / "images" / "950.png").is_file()
    assert values(rows) == {
        "time": pytest.approx(((1.4 + 0.2) / 2 + (0.7 + 0.2) / 2) / 2),
        "chemistry": pytest.approx(0.45),
    }


def test_the_overall_score_of_the_whole_set_weighs_its_categories():
    prompts = [wise.WisePrompt(number, "", "") for number in range(1, 1001)]
    scores = {number: float(number <= 400) + 0.5 * (number > 900) for number in range(1, 1001)}
    found = values(wise.score_rows(prompts, scores, seed=0))
    assert found["overall"] == pytest.approx(0.4 + 0.1 * 0.5)
    assert found["cultural"] == 1 and found["biology"] == 0


@pytest.mark.parametrize("grade", [3, None, "good", True])
def test_grades_that_are_none_are_refused(grade):
    with pytest.raises(ValueError, match="0, 1 or 2"):
        wi_score({"id": "1", "consistency": grade, "realism": 1, "aesthetic_quality": 1})


def test_files_of_other_forms_are_refused(tmp_path):
    with pytest.raises(ValueError, match="prompt_id"):
        wise.read_prompts([write_json(tmp_path / "a.json", [{"prompt": "x"}])])
    twice = [{"prompt_id": 3, "Prompt": "p", "Explanation": "e"}] * 2
    with pytest.raises(ValueError, match="prompt_id 3 is there twice"):
        wise.read_prompts([write_json(tmp_path / "a.json", twice)])
    with pytest.raises(ValueError, match="from 1 to 1000, got 0"):
        wise.read_prompts([write_json(tmp_path / "a.json", [{**twice[0], "prompt_id": 0}])])
    (tmp_path / "m.jsonl").write_text('{"tag": "x"}\n')
    with pytest.raises(ValueError, match="line 1"):
        geneval.read_metadata(tmp_path / "m.jsonl")
