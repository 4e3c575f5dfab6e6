from pathlib import Path

from envs.level_table import level_table, write_table


def test_a_table_is_written_as_markdown_and_no_cell_is_broken(tmp_path: Path):
    table = level_table("level", "failures")
    table.add_row("map01", "a long sentence about what went wrong; " * 10)
    table.add_row("e1m1", "")
    write_table(table, tmp_path / "levels.md")
    lines = (tmp_path / "levels.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["level", "failures"]
    assert set(cells[1][0]) == {"-"}
    assert cells[2:] == [["map01", ("a long sentence about what went wrong; " * 10).strip()], ["e1m1", ""]]
