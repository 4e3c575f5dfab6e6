from dataclasses import replace

import numpy as np
import pytest
import torch

from data_tools.action_text import format_actions, parse_actions, without_time
from tests.worldmodel.conftest import IndexedRepresentation
from worldmodel.action_proposals import MAX_TOKENS, ActionProposer, MotionForm
from worldmodel.branching import Context, Past
from worldmodel.feedforward import FeedForwardKind
from worldmodel.flow import Prediction
from worldmodel.generation.token_choice import TextSampling, choose_tokens
from worldmodel.predictor import WorldModel

FRAMES = torch.tensor([[7, 3], [9, 5], [2, 2]], dtype=torch.uint8)[..., None, None, None].expand(
    3, 2, 8, 8, 3
)
GOALS = torch.tensor([30, 31, 32], dtype=torch.uint8)[:, None, None, None].expand(3, 8, 8, 3)


@pytest.fixture(params=[FeedForwardKind.shared, FeedForwardKind.experts])
def world_model(request, make_model, tokenizer, latents) -> WorldModel:
    model = make_model(feedforward=request.param)
    with torch.no_grad():  # decided enough that neighbouring quantiles do not all give one token
        model.text_embedding.weight.mul_(8)
    return WorldModel(model, tokenizer, IndexedRepresentation(latents), prediction=Prediction.latent)


@pytest.fixture
def form(tokenizer) -> MotionForm:
    return MotionForm(tokenizer)


def _context(world_model, rows=slice(None)) -> Context:
    return world_model.extend_context(world_model.encode_context(FRAMES[rows]), GOALS[rows])


def _streams(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _words(form, text):
    return [form.word(index) for index in form.following(text)]


def test_every_text_of_a_motion_is_followed(form, tokenizer):
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (300, 4)) * [99.9, 12.0, 3.142, 0] + [0, 0, 0, 1]
    actions[:5] = [
        [99.999, -99.999, 3.142, 1],
        [0, 0, -3.142, 1],
        [10, -0.001, 3.1, 1],
        [9.999, 90, 3, 1],
        [0, 0, 0, 1],
    ]
    for text in map(without_time, format_actions(actions)):
        written = form.word(form.first)
        ids = tokenizer.encode(text).ids.tolist()
        assert len(ids) <= MAX_TOKENS
        for index in ids[1:]:
            assert index in form.following(written)
            written += form.word(index)
        assert written == text
        assert form.following(written) == []


def test_what_is_no_action_is_not_followed(form):
    digits = [*"0123456789"]
    start = "action: dx=+0.335, dy=-0.020, dyaw="
    assert _words(form, "action: dx=") == ["+", "-"]
    assert _words(form, "action: dx=+") == [*(f"{digit}." for digit in digits), *digits[1:]]
    assert _words(form, "action: dx=+9") == [f"{digit}." for digit in digits]
    assert _words(form, "action: dx=+0.00") == digits
    assert _words(form, "action: dx=-0.00") == digits[1:]
    assert _words(form, "action: dx=+0.335") == [", dy="]
    assert _words(form, start + "-") == ["0.", "1.", "2.", "3."]
    assert _words(form, start + "-3.14") == ["0", "1", "2"]
    assert _words(form, start + "-3.142") == []


@pytest.mark.parametrize("temperature", [0.0, 0.7, 30.0])
def test_proposals_are_what_one_by_one_and_without_a_cache_gives(world_model, form, temperature):
    context = _context(world_model)
    texts = ActionProposer(world_model, temperature=temperature).propose_actions(
        context, num_proposals=4, duration_s=2.5, generators=_streams(1, 2, 3)
    )
    uniform = [torch.rand(MAX_TOKENS, 4, generator=each) for each in _streams(1, 2, 3)]
    for problem in range(3):
        alone = _context(world_model, slice(problem, problem + 1))
        for candidate in range(4):
            quantiles = uniform[problem][:, candidate]
            expected = _slowly(world_model, form, alone, quantiles, temperature)
            assert texts[problem][candidate] == f"{expected}, dt=2.50"
    if temperature == 0:
        assert all(len(set(own)) == 1 for own in texts)
    else:
        assert len({text for own in texts for text in own}) > 1


@torch.inference_mode()
def _slowly(world_model, form, context, quantiles, temperature):
    """Read the whole text anew for each token."""
    ids, text = [form.first], form.word(form.first)
    while following := form.following(text):
        tokens = world_model.tokenizer.annotate(np.array(ids))
        past = Past.none(context, 1)
        inputs = world_model.branching.token_inputs(
            torch.from_numpy(tokens.ids)[None, None], past.position[..., None] + torch.arange(len(ids))
        )
        columns = {
            name: torch.from_numpy(getattr(tokens, name))[None, None]
            for name in ("places", "values", "is_value")
        }
        is_valid = torch.ones(1, 1, len(ids), dtype=torch.bool)
        hidden, _ = world_model.branching.read(context, past, replace(inputs, **columns), is_valid)
        logits = world_model.transfusion.text_logits(hidden[0, 0, -1:])
        closed = torch.ones_like(logits, dtype=torch.bool)
        closed[:, following] = False
        sampling = TextSampling(temperature=temperature)
        chosen = choose_tokens(
            logits.masked_fill(closed, -torch.inf), quantiles[len(ids) - 1 : len(ids)], sampling
        )
        ids.append(int(chosen))
        text += form.word(ids[-1])
    return text


def test_all_proposals_are_actions_of_the_given_duration(world_model):
    texts = ActionProposer(world_model, temperature=1000.0).propose_actions(
        _context(world_model), num_proposals=40, duration_s=10.25, generators=_streams(1, 2, 3)
    )
    actions = np.stack([parse_actions(own) for own in texts])
    assert actions.shape == (3, 40, 4)
    assert (actions[..., 3] == 10.25).all()
    assert (np.abs(actions[..., 0]) >= 10).any() and (np.abs(actions[..., 0]) < 10).any()
    assert len(np.unique(actions.reshape(-1, 4), axis=0)) == 120


def test_proposals_of_a_problem_do_not_depend_on_the_others(world_model):
    proposer = ActionProposer(world_model)
    together = proposer.propose_actions(
        _context(world_model), num_proposals=3, duration_s=1.0, generators=_streams(1, 2, 3)
    )
    alone = proposer.propose_actions(
        _context(world_model, slice(1, 2)), num_proposals=3, duration_s=1.0, generators=_streams(2)
    )
    assert together[1:2] == alone


def test_proposals_need_a_generator_a_problem_and_a_number(world_model):
    proposer, context = ActionProposer(world_model), _context(world_model)
    with pytest.raises(ValueError, match=r"a generator for each of 3 problems .* got 1 generators"):
        proposer.propose_actions(context, num_proposals=2, duration_s=1.0, generators=_streams(0))
    with pytest.raises(ValueError, match="num_proposals=0"):
        proposer.propose_actions(context, num_proposals=0, duration_s=1.0, generators=_streams(0, 1, 2))
    with pytest.raises(ValueError, match="cannot be written"):
        proposer.propose_actions(context, num_proposals=1, duration_s=100.0, generators=_streams(0, 1, 2))
