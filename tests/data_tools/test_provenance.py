import platform
import re

from data_tools import provenance
from data_tools.provenance import current_commit, installed_versions, source_hash


def test_versions_name_python_and_the_packages_at_hand():
    versions = installed_versions()
    assert versions["python"] == platform.python_version()
    assert {"worldnav", "numpy", "vizdoom"} <= set(versions)


def test_commit_is_a_hash_or_absent():
    commit = current_commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", commit)


def test_the_hash_of_our_source_sees_a_changed_file(tmp_path, monkeypatch):
    module = tmp_path / "data_tools" / "provenance.py"
    module.parent.mkdir()
    module.write_text("x = 1\n")
    monkeypatch.setattr(provenance, "__file__", str(module))
    found = [source_hash.__wrapped__()]
    (module.parent / "notes.md").write_text("not code")
    found.append(source_hash.__wrapped__())
    module.write_text("x = 2\n")
    found.append(source_hash.__wrapped__())
    assert found[0] == found[1] != found[2]
