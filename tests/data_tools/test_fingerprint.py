from dataclasses import replace

from data_tools.fingerprint import fingerprint
from tests.data_tools.recordings import drive, drives


def test_order_does_not_matter_and_frames_are_not_read():
    everything = drives()  # whose frames fail the test that reads them
    assert fingerprint(everything) == fingerprint(everything[::-1]) == fingerprint(iter(drives()))
    assert len(fingerprint(everything)) == 64


def test_whatever_else_changes_the_hash_changes():
    one = drive(7, seed=1)
    assert one.poses is not None
    others = [
        replace(one, name="other"),
        replace(one, place="other"),
        replace(one, times_s=one.times_s + 1.0),
        replace(one, poses=-one.poses),
        replace(one, poses=None),
        drive(8, seed=1),
    ]
    hashes = {fingerprint([each]) for each in (one, *others)} | {
        fingerprint([one, others[0]]),
        fingerprint([]),
    }
    assert len(hashes) == len(others) + 3
