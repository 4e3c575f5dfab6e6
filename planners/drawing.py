"""Drawing: candidates from a Gaussian, white or coloured, each problem from its own random stream."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

from planners.candidates import Prior, to_actions
from planners.constraints import allowed, limits_of

MAX_PULLS = 8
"""Times that a forbidden candidate is pulled half the way to the least motion."""
MAX_REDRAWS = 10
"""Times that candidates are drawn anew in place of what is still forbidden."""


def draw_noise(
    generators: Sequence[torch.Generator],
    num_samples: int,
    *,
    num_parameters: int = 3,
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "problem {num_samples} {num_parameters}"]:
    """Draw standard noise, each problem from its own generator.

    A problem's noise thus depends on its own seed only, never on which problems share its batch.
    """
    drawn = torch.empty(len(generators), num_samples, num_parameters, dtype=dtype)
    for own, generator in zip(drawn, generators, strict=True):
        own.normal_(generator=generator)
    return drawn


def noise_like(prior: Prior, generators: Sequence[torch.Generator], num_samples: int) -> Tensor:
    """Draw standard noise for the parameters of a prior, in its precision."""
    return draw_noise(generators, num_samples, num_parameters=prior.num_numbers, dtype=prior.mean.dtype)


@dataclass(frozen=True)
class Gaussian:
    """What each problem's candidates are drawn from: `mean + spread @ noise`; spread @ spread^T is S."""

    mean: Float[Tensor, "problem parameter"]
    spread: Float[Tensor, "problem parameter parameter"]

    def around(self, noise: Float[Tensor, "problem sample parameter"]) -> Tensor:
        """Turn standard noise into candidates."""
        mean = rearrange(self.mean, "problem parameter -> problem 1 parameter")
        transposed = rearrange(self.spread, "problem row column -> problem column row")
        return torch.bmm(noise, transposed).add_(mean)


def prior_gaussian(prior: Prior, *, num_problems: int, spread: float = 1.0) -> Gaussian:
    """Return the prior as each problem's Gaussian, `spread` times as wide."""
    factor = spread * torch.linalg.cholesky(prior.covariance)
    return Gaussian(
        prior.mean.expand(num_problems, -1).clone(),
        repeat(factor, "row column -> problem row column", problem=num_problems),
    )


def draw_parameters(
    prior: Prior, generators: Sequence[torch.Generator], num_samples: int
) -> Float[Tensor, "problem {num_samples} parameter"]:
    """Draw candidates from the prior, cut to its bounds; the prior's constraints are not asked."""
    noise = noise_like(prior, generators, num_samples)
    return prior.bounds.clamp(prior_gaussian(prior, num_problems=len(generators)).around(noise))


def colour_matrix(num_times: int, *, exponent: float) -> Float[Tensor, "{num_times} {num_times}"]:
    """Return what turns white noise over time into coloured noise, whose power falls as 1 / f^exponent.

    The symmetric root of the circulant covariance with that spectrum, of unit variance at each time: the same
    as scaling a Fourier transform by f^(-exponent / 2), as one product. Frequency 0 counts as the lowest
    that the horizon tells from it, so that the mean over the horizon varies too. 0 is white.

    Source: Timmer & Koenig 1995; iCEM (arXiv 2008.06389), Section 3.1, where the exponent is beta.
    """
    if num_times == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    frequency = torch.fft.rfftfreq(num_times, dtype=torch.float64).clamp_min(1 / num_times)
    column = torch.fft.irfft(frequency.pow(-exponent / 2).to(torch.complex128), n=num_times)
    column = column / column.norm()
    order = torch.arange(num_times)
    return column[(order[:, None] - order[None, :]) % num_times]


def noise_factor(prior: Prior, *, exponent: float | None) -> Float[Tensor, "parameter parameter"]:
    """Return what turns white noise into noise of unit variance that is correlated along the horizon.

    Each number of a motion is coloured by itself (`colour_matrix`); without an exponent, the noise has the
    prior's own correlations.
    """
    if exponent is None:
        factor = torch.linalg.cholesky(prior.covariance)
        return factor / factor.norm(dim=1, keepdim=True)
    colour = colour_matrix(prior.num_numbers // 3, exponent=exponent)
    return torch.kron(colour, torch.eye(3, dtype=colour.dtype)).to(prior.mean)


def admit(
    parameters: Float[Tensor, "problem sample parameter"],
    gaussian: Gaussian,
    prior: Prior,
    *,
    generators: Sequence[torch.Generator],
) -> Float[Tensor, "problem sample parameter"]:
    """Return candidates that obey the prior's bounds and constraints.

    Limits of single motions (bounds, speeds, turns) are met by projection. A candidate that breaks another
    rule, such as a box to stay inside, is pulled towards the least motion that the limits allow, half the way
    each time; what is still forbidden is drawn anew from the Gaussian, and at last replaced by the first
    allowed candidate of its problem. ValueError if a problem has none.

    Args:
        parameters: What was drawn.
        gaussian: What it was drawn from.
        prior: Has bounds and constraints.
        generators: One random stream a problem; those of problems that draw anew are consumed.

    Returns:
        As many candidates, in the same places.
    """
    if not prior.constraints:
        return prior.bounds.clamp(parameters)
    parameters, is_allowed = _pulled(parameters, prior)
    for _ in range(MAX_REDRAWS):
        problems = torch.nonzero(~is_allowed.all(dim=1))[:, 0]
        if len(problems) == 0:
            return parameters
        noise = noise_like(prior, [generators[index] for index in problems.tolist()], parameters.shape[1])
        redrawn = Gaussian(gaussian.mean[problems], gaussian.spread[problems]).around(noise)
        redrawn, is_redrawn_allowed = _pulled(redrawn, prior)
        is_taken = ~is_allowed[problems] & is_redrawn_allowed
        parameters[problems] = torch.where(is_taken[..., None], redrawn, parameters[problems])  # sample 1
        is_allowed[problems] |= is_taken
    is_hopeless = ~is_allowed.any(dim=1)
    if is_hopeless.any():
        raise ValueError(
            f"no candidate of {int(is_hopeless.sum())} of {len(parameters)} problems obeys "
            f"{'; '.join(str(each) for each in prior.constraints)}, after {MAX_REDRAWS} redraws of "
            f"{parameters.shape[1]}; drop a constraint or widen it"
        )
    first = is_allowed.to(torch.uint8).argmax(dim=1)
    spare = parameters[torch.arange(len(parameters)), first]
    return torch.where(
        is_allowed[..., None], parameters, rearrange(spare, "problem parameter -> problem 1 parameter")
    )


def obeys(parameters: Float[Tensor, "*batch parameter"], prior: Prior) -> Bool[Tensor, " *batch"]:
    """Return which candidates obey the prior's constraints, as the actions that their text says."""
    return allowed(to_actions(parameters, prior), prior.constraints, step_s=prior.dt_s)


def _pulled(
    parameters: Float[Tensor, "problem sample parameter"], prior: Prior
) -> tuple[Float[Tensor, "problem sample parameter"], Bool[Tensor, "problem sample"]]:
    """Project onto the limits, and pull what is forbidden then towards the least motion."""
    bounds = prior.bounds
    limits = limits_of(prior.constraints, most=(bounds.dx_m, bounds.dy_m, bounds.dyaw_rad), step_s=prior.dt_s)
    parameters = limits.project(parameters)
    least = limits.project(prior.mean.new_zeros(prior.num_numbers))
    found = obeys(parameters, prior)
    for _ in range(MAX_PULLS):
        if found.all():
            break
        pulled = limits.project(least + (parameters[~found] - least) / 2)
        parameters[~found] = pulled
        found[~found] = obeys(pulled, prior)
    return parameters, found
