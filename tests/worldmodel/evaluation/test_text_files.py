"""Texts in every form that is read."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldmodel.evaluation.text_files import open_sources, read_documents

TEXTS = ["first, with ümläut", "second\nwith two lines", "third"]
LINES = "".join(json.dumps({"text": text, "url": "u"}) + "\n" for text in TEXTS)


def write_all(folder: Path) -> None:
    folder.mkdir()
    (folder / "plain.txt").write_text("plain text")
    (folder / "a.jsonl").write_text(LINES)
    with gzip.open(folder / "b.jsonl.gz", "wt", encoding="utf-8") as opened:
        opened.write(LINES)
    with pa.CompressedOutputStream(pa.OSFile(str(folder / "c_processed.jsonl.zst"), "wb"), "zstd") as packed:
        packed.write(LINES.encode())
    pq.write_table(pa.table({"text": TEXTS}), folder / "d.parquet")
    (folder / "picture.png").write_bytes(b"no text")
    (folder / "archive.zst").write_bytes(b"no lines")


def test_a_folder_is_one_source_with_all_its_documents_in_order(tmp_path):
    write_all(tmp_path / "dclm")
    (source,) = open_sources([str(tmp_path / "dclm")])
    assert source.name == "dclm"
    assert list(read_documents(source, text_field="text")) == [*TEXTS * 4, "plain text"]


def test_a_pattern_gives_a_source_a_match(tmp_path):
    write_all(tmp_path / "dclm")
    found = {source.name: source for source in open_sources([str(tmp_path / "dclm" / "*")])}
    assert list(found) == ["a", "b", "c_processed", "d", "plain"]
    assert list(read_documents(found["c_processed"], text_field="text")) == TEXTS


def test_a_missing_field_names_file_line_and_fields(tmp_path):
    (tmp_path / "a.jsonl").write_text(LINES + json.dumps({"content": "x"}) + "\n")
    (source,) = open_sources([str(tmp_path / "a.jsonl")])
    with pytest.raises(ValueError, match=r"a\.jsonl, line 4.*content"):
        list(read_documents(source, text_field="text"))


def test_a_cut_off_shard_is_refused(tmp_path):
    write_all(tmp_path / "dclm")
    path = tmp_path / "dclm" / "b.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-12])
    (source,) = open_sources([str(path)])
    with pytest.raises(ValueError, match="get the file again"):
        list(read_documents(source, text_field="text"))


def test_a_folder_without_text_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no text"):
        open_sources([str(tmp_path)])


def test_two_sources_of_one_name_are_refused(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="two sources"):
        open_sources([str(tmp_path / "one" / "a.txt"), str(tmp_path / "other" / "a.txt")])
