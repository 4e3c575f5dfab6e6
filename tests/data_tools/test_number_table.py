"""Rows of numbers: what is read, what becomes NaN and is named, and what is refused."""

import re

import numpy as np
import pytest

from data_tools import number_table
from data_tools.number_table import read_columns, read_numbers


def test_reads_what_numpy_reads(tmp_path):
    table = np.random.default_rng(0).normal(size=(5, 7))
    path = tmp_path / "poses.txt"
    np.savetxt(path, table, header="tx ty tz qx qy qz qw")
    np.testing.assert_array_equal(read_numbers(path, widths=(12, 7)).rows, np.loadtxt(path))
    np.save(tmp_path / "poses.npy", table)
    np.testing.assert_array_equal(read_numbers(tmp_path / "poses.npy", widths=(7,)).rows, table)


def test_unreadable_rows_keep_their_place_and_are_named(tmp_path):
    path = tmp_path / "poses.txt"
    path.write_text("\ufeff# header\n1 2\n\n3\n5 six\n7,8\nnan 1\n")
    table = read_numbers(path, widths=(2,))
    np.testing.assert_array_equal(table.rows, [[1, 2], [np.nan] * 2, [np.nan] * 2, [7, 8], [np.nan, 1]])
    assert table.faults == (f"{path}: 2 of 5 rows are not 2 numbers: line 4, 5",)


def test_the_first_readable_row_says_how_wide_the_table_is(tmp_path):
    path = tmp_path / "poses.txt"
    path.write_text("1\n1 2 3\n1 2\n" + "x\n" * 9)
    table = read_numbers(path, widths=(2, 3))
    assert table.rows.shape == (12, 3)
    assert table.faults[0].endswith("11 of 12 rows are not 3 numbers: line 1, 3, 4, 5, 6, ...")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"# only a comment\n", "needs rows of 12 or 16 numbers; it holds none"),
        (b"\n1 2 3\n", "needs rows of 12 or 16 numbers; line 2 is the first"),
        (b"1 2 \xff\xfe\n", "is no text in UTF-8"),
    ],
)
def test_refuses_what_holds_no_row(tmp_path, content, complaint):
    (tmp_path / "poses.txt").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "poses.txt")) + ".*" + complaint):
        read_numbers(tmp_path / "poses.txt", widths=(12, 16))


def test_refuses_arrays_that_would_be_unpickled_or_do_not_fit(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(ValueError, match="without pickle"):
        read_numbers(tmp_path / "objects.npy", widths=(1,))
    np.save(tmp_path / "flat.npy", np.zeros(7))
    with pytest.raises(ValueError, match=r"rows of 7 or 13 real numbers; it is float64 \[7\]"):
        read_numbers(tmp_path / "flat.npy", widths=(7, 13))


def test_refuses_files_that_are_too_large_or_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(number_table, "MAX_TABLE_BYTES", 3)
    (tmp_path / "times.txt").write_text("1\n2\n")
    with pytest.raises(ValueError, match="4 bytes, more than the 3"):
        read_numbers(tmp_path / "times.txt", widths=(1,))
    with pytest.raises(FileNotFoundError, match=r"other\.txt is missing"):
        read_numbers(tmp_path / "other.txt", widths=(1,))


def test_columns_are_found_by_name(tmp_path):
    path = tmp_path / "poses.csv"
    path.write_text("Yaw,note,time_s,x\n0.5,a b,1.25,2\n0.6,,1.5,3\n0.6,b,1.5\n,b,1.5,3\n")
    table = read_columns(path, names=[("t", "time_s"), ("x",), ("yaw", "yaw_rad")])
    np.testing.assert_array_equal(table.rows, [[1.25, 2, 0.5], [1.5, 3, 0.6], *[[np.nan] * 3] * 2])
    assert table.faults[0].endswith("2 of 4 rows are not 3 numbers: line 4, 5")


@pytest.mark.parametrize("header", ["", "t,time_s,x\n", "x,y\n"])
def test_refuses_headers_without_the_column_or_with_two(tmp_path, header):
    (tmp_path / "poses.csv").write_text(header + "1,2,3\n")
    with pytest.raises(ValueError, match="needs a first line with one column called t or time_s; it holds"):
        read_columns(tmp_path / "poses.csv", names=[("t", "time_s")])
