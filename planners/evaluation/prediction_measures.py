"""Prediction measures: what a world model imagines after a window, beside a copy and a reconstruction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from data_tools.randomness import generator_for
from data_tools.trajectory import Trajectory
from planners.evaluation.frame_metrics import (
    Compare,
    latent_cosine,
    latent_squared,
    psnr_db,
    ssim,
    to_square,
)
from planners.evaluation.prediction_rows import Method, PredictionRow, Status
from planners.evaluation.prediction_windows import Kind, Window, frame_at, motion_texts, step_frames
from planners.evaluation.records import Provenance
from planners.evaluation.videos import encode_png
from planners.protocols import WorldModel

Describe = Callable[[UInt8[Tensor, "batch height width 3"]], Float[Tensor, "batch feature"]]
MIN_SIZE_PX = 16
"""SSIM's window is 11 pixels wide."""


@dataclass(frozen=True, kw_only=True)
class PredictionShape:
    """What is imagined, and at what size it is compared."""

    horizons_s: list[float] = field(default_factory=lambda: [1.0, 2.0, 4.0, 8.0, 16.0])
    rates_hz: list[float] = field(default_factory=lambda: [1.0, 4.0])
    """Steps a second of rollouts."""
    num_context: int = 4
    num_steps: int = 25
    """Of the flow sampler."""
    size_px: int = 224
    """Side of the squares that frames are compared as, NWM's."""

    def __post_init__(self) -> None:
        if not self.horizons_s or min(self.horizons_s) <= 0 or min(self.rates_hz, default=1.0) <= 0:
            raise ValueError(
                "horizons_s and rates_hz must be positive, with one horizon at least; got "
                f"{self.horizons_s} and {self.rates_hz}"
            )
        if len(set(self.horizons_s)) < len(self.horizons_s) or len(set(self.rates_hz)) < len(self.rates_hz):
            raise ValueError(f"horizons_s and rates_hz must differ; got {self.horizons_s}, {self.rates_hz}")
        odd = [(h, r) for h in self.horizons_s for r in self.rates_hz if not float(h * r).is_integer()]
        if odd:
            raise ValueError(
                f"a rollout must step on every horizon; {odd[0][0]} s is no whole number of steps at "
                f"{odd[0][1]} a second: change horizons_s or rates_hz"
            )
        if min(self.num_context, self.num_steps) < 1 or self.size_px < MIN_SIZE_PX:
            raise ValueError(
                f"num_context and num_steps must be at least 1 and size_px at least {MIN_SIZE_PX}; got "
                f"{self.num_context}, {self.num_steps} and {self.size_px}"
            )


@dataclass(frozen=True, kw_only=True)
class Instruments:
    """What frames are made and measured with."""

    world_model: WorldModel
    perceptual: Mapping[str, Compare]
    inception: Describe | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """A window, what is asked there, and what its rows say of where they come from."""

    window: Window
    shape: PredictionShape
    seed: int
    """The noise is that of this seed and the window's name."""
    provenance: Provenance
    keeps_pictures: bool = False
    """Whether rows hold their frames."""

    def generator(self, role: str) -> torch.Generator:
        """Return a stream of this window alone."""
        return generator_for(self.seed, f"{role}/{self.window.name}")


@dataclass(frozen=True)
class _Made:
    """Frames of one method at the horizons that could be asked, and their latents."""

    frames: UInt8[Tensor, "horizon height width 3"]
    latents: Float[Tensor, "horizon token channel"]


@dataclass(frozen=True)
class _Answers:
    """What was made for a window at one rate: by horizon the true frame, or why there is none."""

    targets: dict[float, int]
    problems: dict[float, tuple[Status, str]]
    made: dict[Method, _Made]
    texts: dict[float, list[str]]


def measure_window(question: Question, instruments: Instruments) -> list[PredictionRow]:
    """Imagine what follows a window and compare, for every rate, horizon and method.

    What cannot be measured is a row that says why.
    """
    rates = question.shape.rates_hz if question.window.kind is Kind.rollout else [None]
    rows: list[PredictionRow] = []
    for rate_hz in rates:
        answers = _answer(question, instruments, rate_hz)
        numbers = {
            method: _numbers(made, answers.made[Method.truth], instruments, question.shape.size_px)
            for method, made in answers.made.items()
        }
        for index, horizon_s in enumerate(answers.targets):
            rows += [
                replace(
                    _row(question, answers, rate_hz, horizon_s, method),
                    **{name: values[index] for name, values in numbers[method].items()},
                    picture=_picture(question, answers.made[method].frames[index]),
                )
                for method in Method
            ]
        for horizon_s in answers.problems:
            rows += [_row(question, answers, rate_hz, horizon_s, method) for method in Method]
    return rows


def read_frames(trajectory: Trajectory, frames: Sequence[int]) -> UInt8[Tensor, "frame height width 3"]:
    """Read frames of a recording; ValueError or OSError names one that cannot be read."""
    return torch.from_numpy(np.stack([np.asarray(trajectory.frames[frame]) for frame in frames]))


def read_context(window: Window, num_context: int) -> UInt8[Tensor, "frame height width 3"]:
    """Read what the model sees of a window, oldest first."""
    return read_frames(window.trajectory, range(window.frame - num_context + 1, window.frame + 1))


def _answer(question: Question, instruments: Instruments, rate_hz: float | None) -> _Answers:
    window, shape = question.window, question.shape
    targets: dict[float, int] = {}
    problems: dict[float, tuple[Status, str]] = {}
    true = []
    for horizon_s in shape.horizons_s:
        frame = frame_at(window, horizon_s)
        if frame is None:
            problems[horizon_s] = (Status.too_short, f"{window.trajectory.name} has no frame there")
            continue
        try:
            true.append(read_frames(window.trajectory, [frame])[0])
            targets[horizon_s] = frame
        except (ValueError, OSError) as error:
            problems[horizon_s] = (Status.failed, str(error))
    try:
        context = read_context(window, shape.num_context)
        texts = {each: _texts(window, each, frame, rate_hz) for each, frame in targets.items()}
    except (ValueError, OSError) as error:
        unasked = {horizon_s: (Status.failed, str(error)) for horizon_s in targets}
        return _Answers({}, problems | unasked, {}, {})
    if not targets:
        return _Answers({}, problems, {}, {})
    imagined = _imagine(question, instruments.world_model, context, texts, rate_hz)
    return _Answers(targets, problems, _beside(imagined, torch.stack(true), context[-1:], instruments), texts)


def _texts(window: Window, horizon_s: float, frame: int, rate_hz: float | None) -> list[str]:
    """Return the motion from a window to a horizon: one jump, or the steps of a rollout."""
    frames = [frame] if rate_hz is None else step_frames(window, horizon_s=horizon_s, rate_hz=rate_hz)
    return motion_texts(window.trajectory, [window.frame, *frames])


def _imagine(
    question: Question,
    world_model: WorldModel,
    context: UInt8[Tensor, "frame height width 3"],
    texts: Mapping[float, list[str]],
    rate_hz: float | None,
) -> Float[Tensor, "horizon token channel"]:
    """Imagine all jumps at once, from one noise; or one rollout, of which every horizon is a part."""
    encoded = world_model.encode_context(context[None])
    generator = question.generator("jump" if rate_hz is None else f"rollout/{rate_hz:g}")
    longest = texts[max(texts)]
    actions = list(texts.values()) if rate_hz is None else [longest]
    latents = world_model.rollout(
        encoded, [actions], num_steps=question.shape.num_steps, generator=generator
    )[0]
    if rate_hz is None:
        return latents[:, 0]
    return latents[0, [len(own) - 1 for own in texts.values()]]


def _beside(
    imagined: Float[Tensor, "horizon token channel"],
    true: UInt8[Tensor, "horizon height width 3"],
    last: UInt8[Tensor, "1 height width 3"],
    instruments: Instruments,
) -> dict[Method, _Made]:
    model, count = instruments.world_model, len(true)
    latents = model.encode(true)
    return {
        Method.truth: _Made(true, latents),
        Method.world_model: _Made(model.decode(imagined).cpu(), imagined),
        Method.copy_last: _Made(last.expand(count, -1, -1, -1), model.encode(last).expand(count, -1, -1)),
        Method.reconstruction: _Made(model.decode(latents).cpu(), latents),
    }


def _numbers(
    made: _Made, true: _Made, instruments: Instruments, size_px: int
) -> dict[str, list[float] | list[bytes]]:
    """Return the columns of a method's rows, a number a horizon; the truth has no distance from itself."""
    ours, theirs = (to_square(each.frames, size_px=size_px) for each in (made, true))
    features = instruments.world_model.encode(made.frames).float().mean(dim=1)
    found: dict[str, list[float] | list[bytes]] = {"features": to_bytes(features)}
    if instruments.inception is not None:
        found["inception"] = to_bytes(instruments.inception(ours))
    if made is true:
        return found
    pixels = {"psnr_db": psnr_db, "ssim": ssim, **instruments.perceptual}
    found |= {name: compare(ours, theirs).tolist() for name, compare in pixels.items()}
    return found | {
        "latent_squared": latent_squared(made.latents, true.latents).tolist(),
        "latent_cosine": latent_cosine(made.latents, true.latents).tolist(),
    }


def to_bytes(features: Float[Tensor, "sample feature"]) -> list[bytes]:
    """Return features as a row holds them: float32, one string of bytes a sample."""
    return [each.tobytes() for each in features.numpy(force=True).astype(np.float32)]


def _picture(question: Question, frame: UInt8[Tensor, "height width 3"]) -> bytes | None:
    if not question.keeps_pictures:
        return None
    return encode_png(to_square(frame[None], size_px=question.shape.size_px)[0].numpy())


def _row(
    question: Question, answers: _Answers, rate_hz: float | None, horizon_s: float, method: Method
) -> PredictionRow:
    window = question.window
    status, error = answers.problems.get(horizon_s, (Status.measured, None))
    frame, texts = answers.targets.get(horizon_s), answers.texts.get(horizon_s, [])
    times_s = window.trajectory.times_s
    return PredictionRow(
        provenance=question.provenance,
        window=window.name,
        kind=window.kind.name,
        rate_hz=rate_hz,
        horizon_s=horizon_s,
        method=method.name,
        status=status.name,
        error=error,
        trajectory=window.trajectory.name,
        frame=window.frame,
        num_steps=len(texts) or None,
        elapsed_s=None if frame is None else float(times_s[frame] - times_s[window.frame]),
        actions=tuple(texts) if method is Method.world_model else (),
        psnr_db=None,
        ssim=None,
        latent_squared=None,
        latent_cosine=None,
        lpips=None,
        dreamsim=None,
        features=None,
        inception=None,
        picture=None,
    )
