"""Laws of choosing tokens: quantiles of the distribution, cut at top_p."""

import pytest
import torch

from worldmodel.generation.token_choice import TextSampling, choose_tokens

PROBABILITIES = torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.7, 0.05, 0.05, 0.2]])


def chosen(uniform: list[float], **settings: float) -> list[int]:
    sampling = TextSampling(**settings)  # pyright: ignore[reportArgumentType]
    return choose_tokens(PROBABILITIES.log(), torch.tensor(uniform), sampling).tolist()


def test_greedy_takes_the_likeliest():
    assert chosen([0.99, 0.99]) == [1, 0]


def test_quantiles_run_from_the_likeliest():
    assert chosen([0.0, 0.0], temperature=1.0) == [1, 0]
    assert chosen([0.49, 0.71], temperature=1.0) == [1, 3]
    assert chosen([0.51, 0.92], temperature=1.0) == [3, 1]
    assert chosen([0.76, 0.999], temperature=1.0) == [2, 2]
    assert chosen([0.95, 1 - 2**-24], temperature=1.0) == [0, 2]


def test_top_p_keeps_the_fewest_that_suffice():
    assert chosen([0.9999, 0.9999], temperature=1.0, top_p=0.6) == [3, 0]
    assert chosen([0.9999, 0.9999], temperature=1.0, top_p=0.45) == [1, 0]
    # 0.5 and 0.25 are kept of the first: two thirds of them are the likeliest.
    assert chosen([0.66, 0.0], temperature=1.0, top_p=0.6)[0] == 1
    assert chosen([0.67, 0.0], temperature=1.0, top_p=0.6)[0] == 3


def test_frequencies_are_those_of_the_tempered_distribution(generator):
    uniform = torch.rand(20_000, generator=generator)
    logits = PROBABILITIES[:1].log().expand(20_000, -1)
    found = choose_tokens(logits, uniform, TextSampling(temperature=0.5))
    shares = torch.bincount(found, minlength=4) / len(found)
    expected = PROBABILITIES[0].square() / PROBABILITIES[0].square().sum()
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)


def test_what_is_banned_is_never_chosen(generator):
    logits = PROBABILITIES.log().clone()
    logits[:, 1] = float("-inf")
    for quantile in (0.0, 0.5, 1 - 2**-24):
        found = choose_tokens(logits, torch.full((2,), quantile), TextSampling(temperature=2.0))
        assert (found != 1).all()


@pytest.mark.parametrize(
    "settings", [{"temperature": -0.1}, {"top_p": 0.0}, {"top_p": 1.1}, {"max_tokens": 0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="needed temperature >= 0"):
        TextSampling(**settings)
