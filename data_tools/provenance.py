"""Provenance: which commit, source and versions made a result; written beside every result."""

import functools
import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path

_SOURCES = ("data_tools", "worldmodel", "envs", "planners")
_PACKAGES = ("worldnav", "numpy", "torch", "vizdoom", "gymnasium", "ray")


def current_commit() -> str | None:
    """Return this checkout's commit, with `+changes` if files differ from it; None outside a checkout."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        has_changes = bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if has_changes else commit


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on; absent ones are left out."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


@functools.cache
def source_hash() -> str:
    """Return the SHA-256 over the Python files of our packages: what a result depends on besides versions."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(path for package in _SOURCES for path in (root / package).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()
