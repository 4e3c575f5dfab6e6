"""DPG-Bench: `python -m worldmodel.evaluation.dpg_bench model=FOLDER data=FOLDER out=FOLDER`.

`data` is the folder `dpg_bench` of ELLA, with `dpg_bench.csv` and `prompts/<item_id>.txt`. Draws
`images/<item_id>.png`, a sheet of two by two pictures, as the official scorer reads them (its `--resolution`
is the side of one picture). A request to the judge is {"id", "image", "sha256", "question"} with one picture
of the sheet, its answer {"id", "answer"}; `yes` counts. Sheets that others drew are cut every time.

Source: ELLA (arXiv 2403.05135) and github.com/TencentQQGYLab/ELLA, `compute_dpg_bench.py`: a question counts
as no if a question that it depends on was, a picture scores the share of its questions, and categories are
those of answers before that. There, categories are of the last picture of a sheet, here of all, and the
first line of the table is left out, here none.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig
from PIL import Image

from data_tools.config import store, to_object
from data_tools.frames import read_frame
from data_tools.randomness import numpy_generator_for
from data_tools.whole_file import whole_file
from worldmodel.evaluation.benchmark import (
    BenchmarkConfig,
    Stage,
    ask_judge,
    check_there,
    generate,
    named,
    publish_benchmark,
)
from worldmodel.evaluation.intervals import mean_interval
from worldmodel.evaluation.made_by import MadeBy, find
from worldmodel.evaluation.results import Row, hash_files, hash_texts

CSV_NAME = "dpg_bench.csv"
NUM_PICTURES = 4


@dataclass(frozen=True, kw_only=True)
class DpgConfig(BenchmarkConfig):
    """Settings of DPG-Bench."""


@dataclass(frozen=True)
class Proposition:
    """A question about an item; `parents` are the numbers of the questions that it depends on."""

    number: int
    parents: tuple[int, ...]
    category: str
    """Such as `entity - whole`."""
    question: str


def read_propositions(path: Path) -> dict[str, list[Proposition]]:
    """Read the questions of each item; ValueError for a line that is none, or depends on none there."""
    items: dict[str, list[Proposition]] = {}
    with path.open(encoding="utf-8", newline="") as opened:
        for number, line in enumerate(csv.DictReader(opened), start=2):
            try:
                parents = tuple(int(each) for each in line["dependency"].split(",") if int(each) != 0)
                proposition = Proposition(
                    int(line["proposition_id"]),
                    parents,
                    line["tuple"].split("(")[0].strip(),
                    line["question_natural_language"],
                )
                items.setdefault(line["item_id"], []).append(proposition)
            except (KeyError, ValueError, AttributeError) as error:
                raise ValueError(
                    f"{path}, line {number}: needed item_id, proposition_id, dependency, tuple and "
                    f"question_natural_language: {error!r}; get dpg_bench.csv of ELLA"
                ) from error
    for name, own in items.items():
        known = {each.number for each in own}
        if strange := [each for each in own if not set(each.parents) <= known]:
            raise ValueError(f"{path}: {name} has a question that depends on {strange[0].parents}, not there")
    return items


def item_score(propositions: Sequence[Proposition], is_yes: Mapping[int, bool]) -> float:
    """Return the share of questions answered yes; what depends on a no counts as no, step by step."""
    counts = dict(is_yes)
    for each in propositions:
        if not all(counts[parent] for parent in each.parents):
            counts[each.number] = False
    return float(np.mean([counts[each.number] for each in propositions]))


def part_path(images: Path, item: str, part: int) -> Path:
    """Return where one picture of a sheet lies before the sheet is made."""
    return images.parent / "parts" / f"{item}_{part}.png"


def make_sheet(parts: Sequence[Path], sheet: Path) -> None:
    """Put four pictures into one, row by row."""
    pictures = [read_frame(path) for path in parts]
    rows = [np.concatenate(pictures[first : first + 2], axis=1) for first in (0, 2)]
    with whole_file(sheet) as temporary:
        Image.fromarray(np.concatenate(rows, axis=0)).save(temporary, format="PNG")


def cut_sheet(sheet: Path, parts: Sequence[Path]) -> None:
    """Take a sheet apart into its pictures."""
    picture = read_frame(sheet)
    side = len(picture) // 2
    for number, path in enumerate(parts):
        top, left = (side * at for at in divmod(number, 2))
        with whole_file(path) as temporary:
            Image.fromarray(picture[top : top + side, left : left + side]).save(temporary, format="PNG")


def score_rows(
    items: Mapping[str, Sequence[Proposition]],
    said: Mapping[tuple[str, int], Mapping[int, bool]],
    *,
    seed: int,
) -> list[Row]:
    """Return the score (of 100) and categories; `said` is by item and picture, then by question."""
    scores = np.array([item_score(items[item], answers) for (item, _), answers in said.items()])
    rng = numpy_generator_for(seed, "bootstrap")
    found = mean_interval(scores, [item for item, _ in said], rng=rng).scaled(100.0)
    rows = [Row.of("dpg_bench", "overall", found, n=len(scores), unit="pictures", over="prompts")]
    answered = [
        (item, each.category, float(answers[each.number]))
        for (item, _), answers in said.items()
        for each in items[item]
    ]
    broad = sorted({category.split("-")[0].strip() for _, category, _ in answered})
    for name in [*broad, *sorted({category for _, category, _ in answered})]:
        own = [
            (item, value)
            for item, category, value in answered
            if name in (category, category.split("-")[0].strip())
        ]
        found = mean_interval(np.array([value for _, value in own]), [item for item, _ in own], rng=rng)
        rows.append(
            Row.of("dpg_bench", name, found.scaled(100.0), n=len(own), unit="questions", over="prompts")
        )
    return rows


def ask_about(
    items: Mapping[str, Sequence[Proposition]], config: DpgConfig
) -> dict[tuple[str, int], dict[int, bool]] | None:
    """Return what was answered by item and picture, then by question; None without a judge."""
    requests = [
        (
            part_path(config.images, item, part),
            {"id": f"{item}/{part}/{each.number}", "question": each.question},
        )
        for item, propositions in items.items()
        for part in range(NUM_PICTURES)
        for each in propositions
    ]
    answers = ask_judge(config, requests, what="DPG-Bench")
    if answers is None:
        return None
    return {
        (item, part): {
            each.number: str(answers[f"{item}/{part}/{each.number}"].get("answer")).strip().lower() == "yes"
            for each in propositions
        }
        for item, propositions in items.items()
        for part in range(NUM_PICTURES)
    }


def draw_or_cut(texts: Mapping[str, str], config: DpgConfig) -> MadeBy | None:
    """Draw what is missing and make the sheets, or with stage=score cut them; return what drew the pictures.

    Sheets that nobody noted the maker of are cut even if their pictures are there: those may be of others.
    """
    sheets = {item: config.images / f"{item}.png" for item in texts}
    parts = {item: [part_path(config.images, item, n) for n in range(NUM_PICTURES)] for item in texts}
    wanted = [(texts[item], path) for item, own in parts.items() for path in own]
    if config.stage is not Stage.score:
        made_by = generate(config, wanted)
        for item, own in parts.items():
            make_sheet(own, sheets[item])
        return made_by
    check_there(list(sheets.values()))
    made_by = find(config, named(config, wanted))
    for item, own in parts.items():
        if made_by is None or not all(path.is_file() for path in own):
            cut_sheet(sheets[item], own)
    return made_by


def run(config: DpgConfig) -> list[Row]:
    """Draw, score, or both."""
    folder = Path(config.data)
    items = read_propositions(folder / CSV_NAME)
    texts = {item: (folder / "prompts" / f"{item}.txt").read_text(encoding="utf-8").strip() for item in items}
    made_by = draw_or_cut(texts, config)
    if config.stage is Stage.generate:
        return []
    said = ask_about(items, config)
    if said is None:
        return []
    rows = score_rows(items, said, seed=config.seed)
    data_hash = hash_texts([hash_files([folder / CSV_NAME]), *texts.values()])
    publish_benchmark("dpg_bench", config, rows, data_hash=data_hash, made_by=made_by)
    return rows


store("dpg_bench_schema", DpgConfig)


@hydra.main(version_base=None, config_path="../conf", config_name="dpg_bench")
def main(node: DictConfig) -> None:
    """Run the configured benchmark."""
    run(to_object(node, DpgConfig))


if __name__ == "__main__":
    main()
