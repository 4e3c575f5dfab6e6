"""Drawings: what is drawn is where it should be, and names are escaped."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from data_tools.markup import element, round_step, words
from planners.evaluation.charts import draw_costs, draw_intervals
from planners.evaluation.maps import SIZE_PX, MapLayers, draw_map
from planners.evaluation.metrics import Interval
from planners.evaluation.videos import decode_png, encode_png, join_panels, panel_video


def layers() -> MapLayers:
    return MapLayers(
        walls=np.array([[0.0, 2.0, 5.0, 2.0], [90.0, 90.0, 91.0, 90.0]]),
        candidates=[[np.array([[0.0, 0.0], [1.0, 1.0]])], [np.array([[0.0, 0.0], [1.0, 0.0]])] * 2],
        driven=np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.5]]),
        true=np.array([[0.0, 0.0, 0.0], [2.0, 1.0, 0.0]]),
        planned=np.zeros((0, 3)),
    )


def test_north_is_up_and_the_scale_is_one() -> None:
    drawn = draw_map(layers(), label="map")
    path = re.search(r'class="driven"', drawn)
    assert path is not None
    points = re.search(r'data-path="([^"]+)"', drawn)
    assert points is not None
    start, middle, end = (tuple(map(float, pair.split(","))) for pair in points.group(1).split())
    assert start[1] == middle[1] == end[1], "driven along x"
    assert middle[0] - start[0] == pytest.approx(end[0] - middle[0], abs=0.11) and middle[0] > start[0]
    goal = re.search(r'<polygon points="([\d.]+),([\d.]+)[^"]*" class="goal"', drawn)
    assert goal is not None and float(goal.group(2)) < start[1], "the goal lies north"
    assert all(0 <= value <= SIZE_PX for value in (*start, *end))


def test_walls_far_away_are_left_out_and_later_candidates_are_darker() -> None:
    drawn = draw_map(layers(), label="map")
    assert drawn.count('class="wall"') == 1
    assert drawn.count('class="candidate"') == 3
    opacities = [float(value) for value in re.findall(r'opacity="([\d.]+)"', drawn)]
    assert opacities == sorted(opacities) and len(set(opacities)) == 2


def test_costs_have_a_dot_each_and_the_best_line_never_rises() -> None:
    drawn = draw_costs([[0.5, 0.4, 0.9], [0.6, 0.7, 0.8], [0.2, 0.3, 0.9]], label="costs")
    assert drawn.count('class="cost-dot"') == 9
    line = re.search(r'<polyline points="([^"]+)" class="best-line"', drawn)
    assert line is not None
    heights = [float(pair.split(",")[1]) for pair in line.group(1).split()]
    assert heights == sorted(heights), "down the page is a lower cost"
    assert heights[0] == heights[1]


def test_equal_costs_can_be_drawn() -> None:
    assert "nan" not in draw_costs([[0.0, 0.0]], label="costs")


def test_intervals_are_in_proportion() -> None:
    rows = [
        ("<a>", Interval(mean=1.0, low=0.5, high=2.0, n=3)),
        ("b", Interval(mean=2.0, low=2.0, high=2.0, n=3)),
    ]
    drawn = draw_intervals(rows, oracles=("b",), highlighted="<a>", unit="m", label="errors")
    means = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"[^>]*class="mean', drawn)]
    zero = float(re.findall(r'<polyline points="([\d.]+),6 ', drawn)[0])
    assert means[1] - zero == pytest.approx(2 * (means[0] - zero), abs=0.05)
    assert "&lt;a&gt;" in drawn and "<a>" not in drawn


@pytest.mark.parametrize(("span", "step"), [(1.0, 0.5), (3.9, 1.0), (0.07, 0.02), (5.0, 2.0)])
def test_round_steps(span: float, step: float) -> None:
    assert round_step(span, num_steps=4) == pytest.approx(step)


def test_markup_escapes() -> None:
    assert words("b", '<x> & "y"') == "<b>&lt;x&gt; &amp; &quot;y&quot;</b>"
    assert element("i", title='"><script>') == '<i title="&quot;&gt;&lt;script&gt;"/>'


def test_panels_hold_the_frames_in_order() -> None:
    frames = [np.full((3, 4, 3), level, dtype=np.uint8) for level in (40, 120, 220)]
    joined = join_panels([(f"p{level[0, 0, 0]}", encode_png(level)) for level in frames])
    thirds = np.array_split(joined[60:200], 3, axis=1)
    assert [int(np.median(third)) for third in thirds] == [40, 120, 220]


def test_video_has_a_frame_a_step_and_needs_panels_in_step(tmp_path: Path) -> None:
    frames = [encode_png(np.full((6, 8, 3), level, dtype=np.uint8)) for level in (0, 100, 200)]
    video = panel_video(frames, frames, frames[0], frames_per_s=4.0, imagined_label="imagined")
    (tmp_path / "video.mp4").write_bytes(video)
    command = [get_ffmpeg_exe(), "-v", "error", "-i", tmp_path / "video.mp4", "-f", "rawvideo"]
    raw = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    shown = np.frombuffer(raw, dtype=np.uint8).reshape(-1, *join_panels([("p", frames[0])] * 3).shape)
    assert len(shown) == 3 + 4, "three steps and a second of rest"
    assert abs(int(shown[1][100, 100].mean()) - 100) < 6
    with pytest.raises(ValueError, match="got 2 for 3"):
        panel_video(frames, frames[:2], frames[0], frames_per_s=4.0, imagined_label="imagined")
    assert decode_png(frames[1])[0, 0].tolist() == [100, 100, 100]
