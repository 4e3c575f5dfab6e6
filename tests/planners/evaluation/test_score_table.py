"""The table of scores is that of open loop, whatever its methods are called."""

from dataclasses import replace

import pytest

from planners.evaluation.score_table import score_tables
from planners.evaluation.success import Horizon
from planners.evaluation.summary import summarise
from tests.planners.evaluation.rows import open_loop_row
from tests.planners.evaluation.test_report import RUN, plan_rows


def test_same_numbers_as_the_open_loop_summary():
    rows = [row for row in plan_rows() if row.split == "seen_levels"]
    (found,) = score_tables(rows, seed=rows[0].provenance.seed)
    expected = summarise(rows, [], RUN).open_loop["seen_levels"]
    assert found.table == expected.table
    assert (found.num_problems, found.num_failed, found.horizon) == (5, 0, Horizon(2.0, 8))


def test_methods_of_any_name_by_horizon():
    near = [open_loop_row(f"n{number}", method="theirs", ate_m=1.0) for number in range(3)]
    far = [
        replace(row, problem_id=f"f{row.problem_id}", true_poses=row.true_poses * 2, goal_s=4.0)
        for row in near
    ]
    tables = score_tables([*far, *near])
    assert [table.horizon for table in tables] == [Horizon(2.0, 8), Horizon(4.0, 16)]
    assert tables[0].table["theirs"]["ate_spacing"].mean == 4.0
    assert tables[0].success["theirs"].within_radius.mean == 0.0  # 2 m off


def test_a_problem_that_one_method_lacks_counts_for_none():
    rows = [open_loop_row(f"p{number}", method="a", ate_m=float(number)) for number in range(3)]
    rows += [open_loop_row(f"p{number}", method="b", ate_m=1.0) for number in range(2)]
    rows.append(replace(rows[-1], problem_id="p2", ate_m=None, error="missing"))
    (table,) = score_tables(rows)
    assert (table.table["a"]["ate_m"].mean, table.num_problems, table.num_failed) == (0.5, 2, 1)
    assert score_tables(rows[:-1])[0].num_failed == 1


def test_where_nothing_is_shared_there_are_no_numbers():
    rows = [open_loop_row("p0", method="a"), open_loop_row("p1", method="b")]
    (table,) = score_tables(rows)
    assert (table.table, table.success, table.num_problems, table.num_failed) == ({}, {}, 0, 2)
    unplaced = replace(rows[0], true_poses=(), error="unknown trajectory")
    assert score_tables([unplaced]) == []


def test_bad_radii_are_refused():
    with pytest.raises(ValueError, match="must be positive"):
        score_tables([open_loop_row()], radius_m=-1.0)
