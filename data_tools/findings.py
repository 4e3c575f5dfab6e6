"""Findings: what a person should know of a converted recording, a sentence each, and what to do about it."""

from collections import Counter
from collections.abc import Sequence

from data_tools.alignment import Reason
from data_tools.conversion_record import ConversionRecord

MIXED_RATES = 1.5
"""95th percentile of intervals / median, above which a source's frame rate is called uneven."""
_MIN_DELAY_S = 0.1
_MIN_GAIN = 0.05
"""By how much images must agree better at a delay than without, for it to be called one."""
_LARGE_SHARE = 0.5
_BACKWARD_SHARE = 0.2


def findings(record: ConversionRecord) -> list[str]:
    """Return what is noteworthy of a recording, the worst first."""
    quality = record.quality
    found = []
    if not record.trajectories:
        found.append("nothing is left of it: see what was cut")
    if quality.heading is not None and quality.heading.is_wrong:
        found.append(
            f"headings do not agree with the motion (mean cosine {quality.heading.agreement:.2f}); read as "
            f"{quality.heading.best.value}, they do ({quality.heading.best_agreement:.2f})"
        )
    if quality.images is not None and quality.images.says_something:
        if quality.images.correlation < 0:
            found.append(
                f"images move against the turns (correlation {quality.images.correlation:.2f}): yaw may grow "
                "clockwise, or the camera look backward"
            )
        gain = abs(quality.images.correlation) - abs(quality.images.correlation_at_0)
        if abs(quality.images.delay_s) >= _MIN_DELAY_S and gain > _MIN_GAIN:
            found.append(
                f"poses come {abs(quality.images.delay_s):.2f} s "
                f"{'after' if quality.images.delay_s > 0 else 'before'} the images (correlation "
                f"{quality.images.correlation:.2f}, at 0 s {quality.images.correlation_at_0:.2f}); "
                f"alignment.pose_delay_s={-quality.images.delay_s:.2f} would align them"
            )
    if quality.interval_spread > MIXED_RATES:
        found.append(
            f"the frame rate is uneven: a tenth of the intervals is more than {quality.interval_spread:.1f} "
            f"times the usual 1 / {quality.image_rate_hz:.3g} s"
        )
    num_lost = sum(cut.num_frames for cut in record.cuts)
    if num_lost > _LARGE_SHARE * max(record.num_frames, 1):
        found.append(f"{num_lost} frames are cut, {record.num_frames} kept")
    if (quality.backward_share or 0) > _BACKWARD_SHARE:
        found.append(f"it drives backward in {quality.backward_share:.0%} of the steps")
    if (quality.still_share or 0) > _LARGE_SHARE:
        found.append(f"it stands still in {quality.still_share:.0%} of the steps")
    return [*found, *record.faults]


def cuts_by_reason(records: Sequence[ConversionRecord]) -> dict[Reason, tuple[int, int]]:
    """Return for each reason the number of cuts and of frames that they leave out."""
    parts, frames = Counter[Reason](), Counter[Reason]()
    for record in records:
        for cut in record.cuts:
            parts[cut.reason] += 1
            frames[cut.reason] += cut.num_frames
    return {reason: (parts[reason], frames[reason]) for reason in Reason if reason in parts}
