"""Laws of rows: what was written is read, absent stays absent, and other files are refused."""

import pytest

from tests.worldmodel.ablation.made_rows import make_row
from worldmodel.ablation.rows import read_rows, write_rows


def test_rows_come_back_equal(tmp_path):
    rows = [
        make_row("one", 0, {"nats/text": 4.25, "flow/clean/forward": 0.5}),
        make_row("two", 3, {"nats/text": 4.0}, tokens={"text": 9}, commit="abc+changes"),
    ]
    write_rows(tmp_path / "deep" / "rows.parquet", rows)
    assert read_rows(tmp_path / "deep" / "rows.parquet") == rows


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no rows at"):
        read_rows(tmp_path / "rows.parquet")
    (tmp_path / "rows.parquet").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="holds no rows of this version"):
        read_rows(tmp_path / "rows.parquet")
