"""Settings of the whole suite."""

import os

# Before torch is imported: two workers with two threads each fight for two cores, and one thread makes sums
# of floats repeatable.
os.environ.setdefault("OMP_NUM_THREADS", "1")
