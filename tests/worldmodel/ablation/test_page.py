"""Laws of pages: numbers stand where they belong, incomparable ones are not compared, text is escaped."""

import pytest
from PIL import Image

from tests.worldmodel.ablation.made_rows import make_row
from worldmodel.ablation.estimates import estimates_of
from worldmodel.ablation.glossary import meaning_of
from worldmodel.ablation.page import sections_of, to_html, to_markdown
from worldmodel.ablation.plot import draw
from worldmodel.ablation.table import Arm, TableConfig

MEASURES = ["bits_per_byte", "image/psnr_db", "flow/draft/forward"]
TABLE = TableConfig(
    name="made",
    question="is a < b?",
    arms=[Arm(name="one"), Arm(name="two"), Arm(name="far")],
    measures=MEASURES,
    limits=["It says nothing of c & d."],
)


def arms():
    rows = []
    for seed, noise in enumerate((0.0, 0.01, -0.01)):
        one = {"bits_per_byte": 2.5 + seed, "image/psnr_db": 20.0, "flow/draft/forward": 1.0}
        two = {
            "bits_per_byte": 2.25 + seed + noise,
            "image/psnr_db": 19.0 + noise,
            "flow/draft/forward": 1.0 + noise,
        }
        far = {"bits_per_byte": 2.5 + seed, "flow/draft/forward": 0.5}
        rows += [
            make_row("one", seed, one),
            make_row("two", seed, two),
            make_row("far", seed, far, representation="vae"),
        ]
    return estimates_of(rows, arms=[arm.name for arm in TABLE.arms], measures=MEASURES)


def lines_of(page: str, start: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith(start)]


def test_markdown_tells_better_from_worse_and_leaves_out_what_cannot_be_compared():
    page = to_markdown(sections_of(TABLE, arms(), measures=MEASURES, picture="made.png"))
    values, differences, training = lines_of(page, "| two |")
    assert values.startswith("| two | 3.250 ± ") and values.endswith("| 1.000 ± 0.025 | 3 |")
    assert differences == "| two | -0.250 ± 0.025 better | -1.000 ± 0.025 worse | +0.000 ± 0.025 |"
    assert "| 1,500 | 1,100 | 1,300 | 16 x 5 | 7 |" in training and training.endswith("| 301 | 500 |")
    assert lines_of(page, "| far |")[1] == "| far | +0.000 ± 0.000 |  | not comparable |"
    assert "* It says nothing of c & d." in page and "![" in page and "(made.png)" in page
    assert "Of 4 differences that could be marked 0.2 would be by chance" in page


def test_html_escapes_what_it_shows():
    page = to_html(sections_of(TABLE, arms(), measures=MEASURES, picture="made.png"))
    assert "is a &lt; b?" in page and "is a < b?" not in page and "c &amp; d" in page
    assert '<img src="made.png"' in page


def test_picture_has_a_panel_for_each_measure_that_was_made(tmp_path):
    draw(arms(), tmp_path / "one.png", measures=MEASURES[:1])
    draw(arms(), tmp_path / "two.png", measures=[*MEASURES[:2], "nats/caption"])
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.width == 2 * one.width and two.height == one.height


def test_unknown_measures_are_refused():
    assert meaning_of("nats/caption") == meaning_of("nats/text")
    with pytest.raises(ValueError, match="no measure image/fid"):
        meaning_of("image/fid")
