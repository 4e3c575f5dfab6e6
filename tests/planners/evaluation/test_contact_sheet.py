"""The contact sheet shows each method's frame in its line and each horizon's in its column."""

from dataclasses import replace

import numpy as np
import pytest

from planners.evaluation.contact_sheet import GAP_PX, LABEL_HEIGHT_PX, LABEL_WIDTH_PX, SIDE_PX, contact_sheet
from planners.evaluation.prediction_rows import Method
from planners.evaluation.videos import encode_png
from tests.planners.evaluation.prediction_rows import prediction_row


def test_frames_stand_where_their_method_and_horizon_say():
    levels = {}
    rows = []
    for line, method in enumerate((Method.truth, Method.world_model, Method.copy_last)):
        for column, horizon_s in enumerate((1.0, 4.0)):
            levels[line, column] = 60 + 50 * line + 20 * column
            frame = np.full((16, 16, 3), levels[line, column], np.uint8)
            row = prediction_row(0, method, horizon_s=horizon_s)
            rows.append(replace(row, picture=encode_png(frame)))
    rows.append(prediction_row(1, Method.truth, horizon_s=2.0))  # no picture, no column
    sheet = contact_sheet(rows)
    step = SIDE_PX + GAP_PX
    assert sheet.shape == (2 * LABEL_HEIGHT_PX + 4 * step, LABEL_WIDTH_PX + 2 * step, 3)
    for (line, column), level in levels.items():
        middle = sheet[
            2 * LABEL_HEIGHT_PX + line * step + SIDE_PX // 2, LABEL_WIDTH_PX + column * step + SIDE_PX // 2
        ]
        assert middle.tolist() == [level] * 3
    twice = contact_sheet([*rows, *(replace(row, window="time/other/9") for row in rows)])
    assert twice.shape[0] == 2 * sheet.shape[0]


def test_rows_without_pictures_are_refused():
    with pytest.raises(ValueError, match="num_shown=2"):
        contact_sheet([prediction_row(0, Method.truth)])
