"""Results: what an evaluation leaves behind (rows, summary, page), and what it prints."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from planners.evaluation.progress import print_summary
from planners.evaluation.records import ClosedLoopRow, OpenLoopRow, to_table
from planners.evaluation.report import write_report
from planners.evaluation.shards import write_table
from planners.evaluation.summary import Run, Summary, summarise, write_summary


def publish(
    console: Console,
    out: Path,
    run: Run,
    *,
    open_rows: Sequence[OpenLoopRow],
    closed_rows: Sequence[ClosedLoopRow],
) -> Summary:
    """Write rows as Parquet, `summary.json` and `index.html`, and print the tables."""
    out.mkdir(parents=True, exist_ok=True)
    for name, rows, row_type in (
        ("open_loop", open_rows, OpenLoopRow),
        ("closed_loop", closed_rows, ClosedLoopRow),
    ):
        if rows:
            write_table(to_table(rows, row_type), out / f"{name}.parquet")
    summary = summarise(open_rows, closed_rows, run)
    write_summary(summary, out / "summary.json")
    write_report(summary, open_rows, closed_rows, out / "index.html")
    print_summary(console, summary)
    for row in {row.error: row for row in (*open_rows, *closed_rows) if row.error is not None}.values():
        console.print(f"failed: {row.level}: {row.error}", markup=False)
    console.print(f"\nReport: {(out / 'index.html').resolve().as_uri()}", soft_wrap=True, markup=False)
    return summary
