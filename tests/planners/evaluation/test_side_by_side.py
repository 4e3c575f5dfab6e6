"""Ours and others in one table: same columns, own units, and every published row says whether it compares."""

from planners.evaluation.metrics import Interval
from planners.evaluation.published import OurProtocol, published_planning, published_prediction
from planners.evaluation.score_table import score_tables
from planners.evaluation.side_by_side import (
    PLANNING_HEADINGS,
    OwnPrediction,
    planning_tables,
    prediction_table,
)
from tests.planners.evaluation.rows import open_loop_row

OURS = OurProtocol(data_set="recon", spacing_m=0.25, num_context=4, windows="NWM's 100 windows")


def rows_of(method: str, *, times: int = 1) -> list:
    rows = [open_loop_row(f"p{number}", method=method, ate_m=0.25) for number in range(3)]
    if times == 1:
        return rows
    return [type(row)(**{**vars(row), "true_poses": row.true_poses * times}) for row in rows]


def test_ours_stand_above_the_published_rows():
    tables = score_tables([*rows_of("theirs"), *rows_of("oracle_cost")])
    (table,) = planning_tables(tables, published_planning(), OURS)
    cells = {row[0] + "/" + row[1]: dict(zip(PLANNING_HEADINGS, row, strict=True)) for row in table.rows}
    assert len(table.rows) == 2 + len(published_planning()) and table.emphasised == {0, 1}
    assert cells["theirs/recon"]["ATE [spacing]"] == "1.00 [1.00, 1.00]"
    assert "oracle_cost (oracle)/recon" in cells
    nwm = cells["NWM, CEM/recon"]
    # 1.13 spacing of 0.25 m.
    assert (nwm["ATE [spacing]"], nwm["ATE [m]"], nwm["context"]) == ("1.13 +- 0.02", "0.28", "4")
    assert nwm["candidates / elites / iterations / repeats"] == "120 / 5 / 1 / 3"
    assert nwm["comparable with ours"] == "with care" and "blurred faces" in nwm["why"]
    assert cells["NWM, CEM/sacson"]["comparable with ours"] == "no"
    assert cells["CoME/recon"]["ATE [m]"] == "" and "not stated" in cells["CoME/recon"]["why"]
    assert all(row[-2] in {"yes", "with care", "no"} and row[-1] for row in table.rows[2:])


def test_longer_goals_have_no_published_rows():
    (table,) = planning_tables(score_tables(rows_of("theirs", times=2)), published_planning(), OURS)
    assert len(table.rows) == 1 and "No published row has goals just this far ahead." in table.notes


def test_frames_beside_published_ones():
    own = OwnPrediction(
        method="theirs",
        data_set="recon",
        kind="time",
        goal_s=4.0,
        metric="psnr_db",
        value=Interval(mean=15.5, low=15.0, high=16.0, n=7),
    )
    table = prediction_table([own], published_prediction(), data_set="recon")
    assert table.rows[0][:7] == ("theirs", "recon", "time", "4", "psnr_db", "15.50 [15.00, 16.00]", "7")
    assert {row[-2] for row in table.rows[1:]} == {"with care", "yes", "no"}
