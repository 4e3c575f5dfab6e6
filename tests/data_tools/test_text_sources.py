import hashlib
import io
import json
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from data_tools import text_sources
from data_tools.text_sources import (
    SOURCES,
    Form,
    TextSource,
    Use,
    fetch,
    main,
    parse_instructions,
    read_texts,
)

CONTENT = b"Call me Ishmael.\nSome years ago\n"


def source(content: bytes = CONTENT, **changes) -> TextSource:
    made = TextSource(
        name="whale",
        repository="someone/books",
        commit="0123456789abcdef",
        path="texts/moby.txt",
        licence="public domain",
        num_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        use=Use.training,
    )
    return replace(made, **changes)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    folder.mkdir()
    (folder / "whale.txt").write_bytes(CONTENT)
    return folder


def test_a_copied_source_reads_back_exactly(origin, tmp_path):
    out = tmp_path / "a" / "b"
    assert fetch(source(), out, from_folder=origin) == out / "whale.txt"
    assert read_texts(source(), out) == [CONTENT.decode()]
    assert [path.name for path in out.iterdir()] == ["whale.txt"]


def test_a_source_is_downloaded_once_from_its_commit(tmp_path, monkeypatch):
    asked = []

    def serve(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(CONTENT)

    monkeypatch.setattr(urllib.request, "urlopen", serve)
    for _ in range(2):
        fetch(source(), tmp_path)
    assert asked == ["https://raw.githubusercontent.com/someone/books/0123456789abcdef/texts/moby.txt"]


def test_offline_gets_one_clear_error(tmp_path, monkeypatch):
    def refuse(url: str, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(ConnectionError, match=r"cannot download whale from https://.*from_folder=FOLDER"):
        fetch(source(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_are_refused_and_not_kept(origin, tmp_path):
    (origin / "whale.txt").write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"is not whale: needed 32 bytes .* got 31 bytes"):
        fetch(source(), tmp_path / "out", from_folder=origin)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="is not whale"):
        read_texts(source(), origin)


def test_a_file_that_is_not_there_is_named(origin, tmp_path):
    with pytest.raises(FileNotFoundError, match="lacks shark"):
        fetch(source(name="shark"), tmp_path, from_folder=origin)
    with pytest.raises(FileNotFoundError, match=r"python -m data_tools.text_sources"):
        read_texts(source(), tmp_path)


def test_instructions_are_one_text_a_path():
    content = json.dumps(
        [{"instructions": ["Turn left. ", "Go left."], "scan": "x"}, {"instructions": ["Stop."]}]
    )
    assert parse_instructions(content, origin="r2r") == ["Turn left.\nGo left.", "Stop."]
    for bad in ("{", '{"a": 1}', '[{"instructions": "Stop."}]', "[1]"):
        with pytest.raises(ValueError, match="r2r must be a JSON list"):
            parse_instructions(bad, origin="r2r")


def test_the_notice_of_project_gutenberg_is_not_part_of_the_text(tmp_path):
    body = "*** START OF THE BOOK ***\r\nIt is a truth\r\n*** END OF THE BOOK ***"
    text = f"\ufefflicence\r\n{body}\r\nmore licence"
    book = source(text.encode())
    (tmp_path / "whale.txt").write_bytes(text.encode())
    assert read_texts(book, tmp_path) == ["It is a truth"]


def test_sources_have_distinct_names_and_hashes_and_one_use():
    assert len({found.name for found in SOURCES}) == len({found.sha256 for found in SOURCES}) == len(SOURCES)
    uses = {found.name: found.use for found in SOURCES}
    assert uses["wikitext2_test"] is Use.evaluation
    training = {name for name, use in uses.items() if use is Use.training}
    assert training == {"tinyshakespeare", "pride_and_prejudice", "wikitext2_valid", "R2R_sub_train"}
    assert {found.name for found in SOURCES if found.form is Form.instructions} == {
        "R2R_sub_train",
        "R2R_sub_val_unseen",
    }
    assert all(len(found.sha256) == 64 and len(found.commit) == 40 for found in SOURCES)


def test_the_command_fetches_all_and_reads_the_training_texts(origin, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(text_sources, "SOURCES", (source(), source(name="other", use=Use.evaluation)))
    (origin / "other.txt").write_bytes(CONTENT)
    out = tmp_path / "out"
    main([f"out={out}", f"from_folder={origin}"])
    assert sorted(path.name for path in out.iterdir()) == ["other.txt", "whale.txt"]
    assert "whale.txt  training  32 bytes  public domain" in capsys.readouterr().out
    assert text_sources.read_texts_of_use(Use.training, out) == [CONTENT.decode()]


@pytest.mark.parametrize(
    ("arguments", "message"), [([], "out"), (["ouf=a"], "ouf"), (["out=/x", "from_folder=/y"], "lacks")]
)
def test_the_command_refuses_bad_arguments(arguments, message):
    with pytest.raises(SystemExit, match=message):
        main(arguments)
