import platform
import re

from data_tools.provenance import current_commit, installed_versions


def test_versions_name_python_and_the_packages_at_hand():
    versions = installed_versions()
    assert versions["python"] == platform.python_version()
    assert {"worldnav", "numpy", "vizdoom"} <= set(versions)


def test_commit_is_a_hash_or_absent():
    commit = current_commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", commit)
