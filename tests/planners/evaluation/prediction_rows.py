"""Prediction and faithfulness rows with plausible values, for tests that care about a few of them."""

from collections.abc import Sequence

import numpy as np

from planners.evaluation.faithfulness import FaithfulnessRow
from planners.evaluation.prediction_rows import Method, PredictionRow, Status
from tests.planners.evaluation.rows import PROVENANCE


def prediction_row(
    window: int,
    method: Method,
    *,
    psnr_db: float | None = 20.0,
    horizon_s: float = 1.0,
    rate_hz: float | None = None,
    error: str | None = None,
    features: Sequence[float] = (0.0, 1.0),
) -> PredictionRow:
    """Return a row of a recording that has two windows; an error makes it one that failed."""
    is_truth = method is Method.truth or error is not None
    return PredictionRow(
        provenance=PROVENANCE,
        window=f"time/drive{window // 2}/{window}",
        kind="time" if rate_hz is None else "rollout",
        rate_hz=rate_hz,
        horizon_s=horizon_s,
        method=method.name,
        status=(Status.measured if error is None else Status.failed).name,
        error=error,
        trajectory=f"drive{window // 2}",
        frame=window,
        num_steps=1 if rate_hz is None else round(rate_hz * horizon_s),
        elapsed_s=1.2 * horizon_s,
        actions=(),
        psnr_db=None if is_truth else psnr_db,
        ssim=None if is_truth else 0.5,
        latent_squared=None if is_truth else 0.25,
        latent_cosine=None if is_truth else 0.125,
        lpips=None,
        dreamsim=None,
        features=np.array(features, np.float32).tobytes() if error is None else None,
        inception=None,
        picture=None,
    )


def faithfulness_row(
    window: int,
    commanded: Sequence[float],
    *,
    imagined: Sequence[float],
    mirrored: Sequence[float] = (0.0, 0.0, 0.0),
    distances: tuple[float, float] = (1.0, 2.0),
    status: Status = Status.measured,
) -> FaithfulnessRow:
    """Return a row whose inverse model reads true frames exactly."""
    return FaithfulnessRow(
        provenance=PROVENANCE,
        window=f"faithfulness/drive{window // 2}/{window}",
        horizon_s=1.0,
        status=status.name,
        error=None,
        trajectory=f"drive{window // 2}",
        frame=window,
        elapsed_s=1.0,
        commanded=tuple(map(float, commanded)),
        from_true=tuple(map(float, commanded)),
        from_reconstruction=tuple(map(float, commanded)),
        from_imagined=tuple(map(float, imagined)),
        from_mirrored=tuple(map(float, mirrored)),
        distance=distances[0],
        mirrored_distance=distances[1],
    )


def given(number: float | None) -> float:
    """Return a number that a row must hold."""
    assert number is not None
    return number
