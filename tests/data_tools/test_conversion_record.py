"""Conversion records come back as they were, and broken ones say what to do."""

import math
from dataclasses import replace

import pytest

from data_tools.alignment import Cut, Reason
from data_tools.conversion_record import ConversionRecord, read_record, read_records, write_record
from data_tools.quality import HeadingTest, ImageTest, Quality, YawConvention

QUALITY = Quality(
    num_images=40,
    num_frames=20,
    duration_s=5.0,
    image_rate_hz=8.0,
    longest_gap_s=0.4,
    interval_spread=1.25,
    spacing_m=0.25,
    speed_m_s=1.5,
    still_share=0.1,
    backward_share=0.0,
    heading=HeadingTest(agreement=-0.5, best=YawConvention.clockwise, best_agreement=0.99, num_steps=19),
    images=ImageTest(delay_s=0.3, correlation=0.8, correlation_at_0=0.4),
)
RECORD = ConversionRecord(
    name="drive",
    place="yard",
    trajectories=("drive_000", "drive_001"),
    quality=QUALITY,
    cuts=(Cut(Reason.jump, 1.0, 1.25, 0), Cut(Reason.short, 2.0, 2.5, 3)),
    faults=("one message of /tf is cut off",),
)


def test_a_record_comes_back_as_it_was(tmp_path):
    plain = replace(RECORD, name="plain", quality=replace(QUALITY, heading=None, images=None, spacing_m=None))
    write_record(RECORD, tmp_path)
    write_record(plain, tmp_path)
    assert read_record(tmp_path, "drive") == RECORD and read_record(tmp_path, "other") is None
    assert read_records(tmp_path) == (RECORD, plain)


def test_numbers_that_json_has_no_word_for_come_back(tmp_path):
    odd = replace(
        RECORD,
        quality=replace(QUALITY, image_rate_hz=math.inf, interval_spread=math.nan),
        cuts=(Cut(Reason.bad_time, math.nan, 1.0, 2),),
    )
    write_record(odd, tmp_path)
    found = read_record(tmp_path, "drive")
    assert found is not None and found.quality.image_rate_hz == math.inf
    assert math.isnan(found.quality.interval_spread) and math.isnan(found.cuts[0].start_s)


def test_frames_of_short_stretches_are_no_frames_of_trajectories():
    assert RECORD.num_frames == 17


def test_a_broken_record_says_what_to_do(tmp_path):
    (tmp_path / "drive.record.json").write_text('{"name": "drive"}')
    with pytest.raises(ValueError, match="remove it, and the recording is converted again"):
        read_record(tmp_path, "drive")
