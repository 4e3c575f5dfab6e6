"""Videos: three panels side by side: what the simulator shows, what the model imagined, the goal."""

import base64
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

PANEL_WIDTH_PX, PANEL_HEIGHT_PX = 320, 240
LABEL_HEIGHT_PX = 32
CONTROLS_HEIGHT_PX = 48
"""Room at the bottom for the player's controls, so that they hide nothing; 32 + 240 + 48 is 20 x 16."""
GAP_PX = 8
BACKGROUND = (17, 20, 26)
FOREGROUND = (235, 238, 243)
HOLD_S = 1.0
"""How long the last frame stays before the video starts again."""


def encode_png(frame: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Return a frame as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="PNG")
    return buffer.getvalue()


def decode_png(content: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """Return the frame that `encode_png` was given."""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        return np.array(image.convert("RGB"))


def panel_video(
    observed: Sequence[bytes],
    imagined: Sequence[bytes],
    goal: bytes,
    *,
    frames_per_s: float,
    imagined_label: str,
    observed_label: str = "simulator",
) -> bytes:
    """Return an H.264 video of three panels, in step: observed, imagined, goal; frames come and go as PNG.

    Args:
        observed: What the simulator shows, a frame a step.
        imagined: What the model expected, as many; without a model none, and the panel says so.
        goal: The goal frame.
        frames_per_s: Frames a second.
        imagined_label: Says which expectation it is.
        observed_label: Says where the observed frames are from.

    Returns:
        The bytes of an MP4 file.
    """
    if imagined and len(imagined) != len(observed):
        raise ValueError(f"need one imagined frame an observed one; got {len(imagined)} for {len(observed)}")
    pictures = [
        join_panels(
            [
                (observed_label, observed[index]),
                (imagined_label, imagined[index] if imagined else None),
                ("goal", goal),
            ]
        )
        for index in range(len(observed))
    ]
    pictures += [pictures[-1]] * round(HOLD_S * frames_per_s)
    return _encode_mp4(pictures, frames_per_s=frames_per_s)


def join_panels(panels: Sequence[tuple[str, bytes | None]]) -> UInt8[np.ndarray, "height width 3"]:
    """Return labelled frames side by side; a panel without a frame says that there was no model."""
    width = len(panels) * PANEL_WIDTH_PX + (len(panels) - 1) * GAP_PX
    canvas = Image.new("RGB", (width, LABEL_HEIGHT_PX + PANEL_HEIGHT_PX + CONTROLS_HEIGHT_PX), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=16)
    for index, (label, content) in enumerate(panels):
        left = index * (PANEL_WIDTH_PX + GAP_PX)
        draw.text((left + 8, 6), label, fill=FOREGROUND, font=font)
        if content is None:
            draw.text((left + 90, LABEL_HEIGHT_PX + 110), "no model in this run", fill=FOREGROUND, font=font)
            continue
        frame = Image.fromarray(decode_png(content))
        canvas.paste(
            frame.resize((PANEL_WIDTH_PX, PANEL_HEIGHT_PX), Image.Resampling.BICUBIC), (left, LABEL_HEIGHT_PX)
        )
    return np.asarray(canvas)


def data_uri(content: bytes, media_type: str) -> str:
    """Return content as a URI that a page can hold."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _encode_mp4(pictures: Sequence[UInt8[np.ndarray, "height width 3"]], *, frames_per_s: float) -> bytes:
    import imageio.v3 as imageio  # noqa: PLC0415 (only the report needs it)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        imageio.imwrite(
            path,
            np.stack(pictures),
            plugin="FFMPEG",
            fps=frames_per_s,
            codec="libx264",
            pixelformat="yuv420p",
            output_params=["-crf", "23", "-preset", "veryfast", "-movflags", "+faststart", "-threads", "1"],
        )
        return path.read_bytes()
