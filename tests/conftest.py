"""Settings of the whole suite."""

import os
import shutil

import pytest

# Before torch is imported: two workers with two threads each fight for two cores, and one thread makes sums
# of floats repeatable.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run."""
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        skip = pytest.mark.skip(reason="torch.compile needs a C++ compiler on a CPU")
        for item in items:
            if item.get_closest_marker("compiled"):
                item.add_marker(skip)
