"""Contact sheet: true, imagined and copied frames of a few windows at every horizon, as one picture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from planners.evaluation.prediction_rows import Method, PredictionRow
from planners.evaluation.videos import BACKGROUND, FOREGROUND, GAP_PX, LABEL_HEIGHT_PX, decode_png

SHOWN = {
    Method.truth: "true",
    Method.world_model: "imagined",
    Method.copy_last: "copied",
    Method.reconstruction: "through the encoder",
}
LABEL_WIDTH_PX = 150
SIDE_PX = 128


def contact_sheet(rows: Sequence[PredictionRow]) -> UInt8[np.ndarray, "height width 3"]:
    """Draw the rows that hold pictures: a block a window and rate, a line a method, a column a horizon.

    ValueError if none holds one.
    """
    shown = [row for row in rows if row.picture is not None]
    if not shown:
        raise ValueError("no row holds a picture; show some windows with num_shown=2")
    horizons_s = sorted({row.horizon_s for row in shown})
    blocks = [
        _block([row for row in shown if (row.window, row.rate_hz) == block], horizons_s)
        for block in dict.fromkeys((row.window, row.rate_hz) for row in shown)
    ]
    return np.concatenate(blocks)


def _block(rows: Sequence[PredictionRow], horizons_s: Sequence[float]) -> UInt8[np.ndarray, "height width 3"]:
    width = LABEL_WIDTH_PX + len(horizons_s) * (SIDE_PX + GAP_PX)
    canvas = Image.new("RGB", (width, LABEL_HEIGHT_PX * 2 + len(SHOWN) * (SIDE_PX + GAP_PX)), BACKGROUND)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    rate_hz = rows[0].rate_hz
    how = "one jump" if rate_hz is None else f"{rate_hz:g} steps a second"
    draw.text((8, 6), f"{rows[0].window}: {how}", fill=FOREGROUND, font=font)
    for column, horizon_s in enumerate(horizons_s):
        left = LABEL_WIDTH_PX + column * (SIDE_PX + GAP_PX)
        draw.text((left, LABEL_HEIGHT_PX + 4), f"{horizon_s:g} s", fill=FOREGROUND, font=font)
    for line, (method, label) in enumerate(SHOWN.items()):
        top = 2 * LABEL_HEIGHT_PX + line * (SIDE_PX + GAP_PX)
        draw.text((8, top + SIDE_PX // 2 - 8), label, fill=FOREGROUND, font=font)
        for row in rows:
            if row.method == method.name and row.picture is not None:
                left = LABEL_WIDTH_PX + horizons_s.index(row.horizon_s) * (SIDE_PX + GAP_PX)
                canvas.paste(Image.fromarray(decode_png(row.picture)).resize((SIDE_PX, SIDE_PX)), (left, top))
    return np.asarray(canvas)
