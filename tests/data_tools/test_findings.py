"""Findings: what is said of a recording, and that nothing is said of a good one."""

from dataclasses import replace

import pytest

from data_tools.alignment import Cut, Reason
from data_tools.findings import cuts_by_reason, findings
from data_tools.quality import HeadingTest, ImageTest, YawConvention
from tests.data_tools.test_conversion_record import QUALITY, RECORD

GOOD = replace(
    RECORD,
    cuts=(),
    faults=(),
    quality=replace(
        QUALITY,
        heading=HeadingTest(agreement=0.99, best=YawConvention.as_is, best_agreement=0.99, num_steps=50),
        images=ImageTest(delay_s=0.3, correlation=0.81, correlation_at_0=0.8),
    ),
)


def test_nothing_is_said_of_a_good_recording():
    assert findings(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heading": QUALITY.heading}, "clockwise from x"),
        ({"images": ImageTest(delay_s=0.3, correlation=0.8, correlation_at_0=0.4)}, "pose_delay_s=-0.30"),
        ({"images": ImageTest(delay_s=0.0, correlation=-0.8, correlation_at_0=-0.8)}, "against the turns"),
        ({"interval_spread": 2.0}, "2.0 times the usual 1 / 8 s"),
        ({"backward_share": 0.3}, "drives backward in 30%"),
        ({"still_share": 0.7}, "stands still in 70%"),
    ],
)
def test_each_fault_is_said_once(changes, words):
    (sentence,) = findings(replace(GOOD, quality=replace(GOOD.quality, **changes)))
    assert words in sentence


def test_agreement_by_chance_says_nothing():
    weak = ImageTest(delay_s=0.5, correlation=-0.2, correlation_at_0=0.0)
    assert findings(replace(GOOD, quality=replace(GOOD.quality, images=weak))) == []


def test_much_that_is_cut_is_said():
    lost = replace(GOOD, cuts=(Cut(Reason.no_pose, 0.0, 3.0, 12),))
    assert findings(lost) == ["12 frames are cut, 20 kept"]
    assert "nothing is left" in findings(replace(GOOD, trajectories=()))[0]


def test_cuts_are_added_up_by_reason():
    assert cuts_by_reason([RECORD, RECORD, GOOD]) == {Reason.jump: (2, 0), Reason.short: (2, 6)}
