import numpy as np
import pytest
import torch

from data_tools.command_text import describe_motion, parse_command
from data_tools.pose import compose
from planners.candidates import Bounds, Parameterisation, Prior
from planners.commands import (
    CommandGrammar,
    CommandReading,
    CommandSpace,
    Verb,
    by_meaning,
    command_evaluate,
    spread_motions,
)
from planners.constraints import parse_constraints
from planners.evaluate import ImaginationConfig, Mode, latent_goal
from tests.planners.toy_world import ToyModel, frame_of

STARTS = np.array([[0.5, -1.0, 0.3], [-2.0, 1.0, -2.8]])


def make_prior(horizon: int = 7, **changes) -> Prior:
    return Prior(
        mean=torch.tensor([0.2, 0.0, 0.0], dtype=torch.float64),
        covariance=0.01 * torch.eye(3, dtype=torch.float64),
        parameterisation=Parameterisation.arc,
        horizon=horizon,
        dt_s=0.25,
        **changes,
    )


class ListeningModel(ToyModel):
    """A toy that understands commands; remembers the texts it was told."""

    def rollout(self, context, actions, *, num_steps, generator):
        self.told = [text for problem in actions for candidate in problem for text in candidate]
        meant = [[[_as_action(text) for text in one] for one in own] for own in actions]
        return super().rollout(context, meant, num_steps=num_steps, generator=generator)


def _as_action(text):
    if text.startswith("action:"):
        return text
    dx_m, dy_m, dyaw_rad = compose(np.stack(parse_command(text)))
    return f"action: dx={dx_m:+.3f}, dy={dy_m:+.3f}, dyaw={dyaw_rad:+.3f}, dt=0.00".replace(
        "-0.000", "+0.000"
    )


def test_a_command_takes_the_whole_horizon():
    """30 degrees fit into one step, 2 m need four of 0.6 m; the two that are left go to the faster motion."""
    motions = np.stack(parse_command("turn left 30 degrees, then go forward 2 metres"))
    actions = spread_motions(motions, horizon=7, step_s=0.25, bounds=Bounds())
    turns, lengths = [0.524, 0, 0, 0, 0, 0, 0], [0, 0.333, 0.334, 0.333, 0.333, 0.334, 0.333]
    np.testing.assert_allclose(actions[:, 2], turns, atol=1e-9)
    np.testing.assert_allclose(actions[:, 0], lengths, atol=1e-9)
    np.testing.assert_allclose(actions[:, [1, 3]], [[0, 0.25]] * 7, atol=1e-9)


@pytest.mark.parametrize("horizon", [5, 7, 11])
def test_steps_sum_up_to_what_the_command_says(horizon):
    text = "turn right 60 degrees, then go forward 1 metre, then turn left 10 degrees"
    actions = spread_motions(np.stack(parse_command(text)), horizon=horizon, step_s=0.25, bounds=Bounds())
    expected = np.abs(np.stack(parse_command(text))).sum(axis=0)
    np.testing.assert_allclose(np.abs(actions[:, :3]).sum(axis=0), expected, atol=1.01e-3)
    assert (np.abs(actions[:, :3]) <= [0.601, 0.601, 1.001]).all()


def test_staying_is_a_command():
    expected = np.tile([0, 0, 0, 0.25], (3, 1))
    given = spread_motions(np.stack(parse_command("wait")), horizon=3, step_s=0.25, bounds=Bounds())
    np.testing.assert_array_equal(given, expected)


def test_a_command_that_is_too_long_or_bent_is_refused():
    with pytest.raises(ValueError, match=r"need at least 4 steps within the bounds; the horizon has 3"):
        spread_motions(
            np.stack(parse_command("go forward 2 metres")), horizon=3, step_s=0.25, bounds=Bounds()
        )
    with pytest.raises(ValueError, match="turn and go in two parts"):
        spread_motions(np.array([[1.0, 0.0, 0.2]]), horizon=5, step_s=0.25, bounds=Bounds())


@pytest.mark.parametrize(
    ("verb", "motion"),
    [
        (Verb.forward, (0.5, 0, 0)),
        (Verb.back, (-0.5, 0, 0)),
        (Verb.step_left, (0, 0.2, 0)),
        (Verb.step_right, (0, -0.2, 0)),
        (Verb.turn_left, (0, 0, np.pi / 6)),
        (Verb.turn_right, (0, 0, -np.pi / 6)),
    ],
)
def test_parts_are_worded_as_in_training(verb, motion):
    amount = 30 if verb.is_turn else round(100 * abs(sum(motion)))
    words = verb.words(amount)
    np.testing.assert_allclose(parse_command(words), [motion], atol=1e-12)
    rng = np.random.default_rng(0)
    written = {describe_motion(np.array(motion, dtype=float), rng=rng, held_out=False) for _ in range(300)}
    assert words in written


def test_a_space_knows_text_actions_and_parameters_of_its_commands():
    grammar = CommandGrammar(lengths_cm=[50, 100], turns_deg=[30], max_parts=2)
    space = CommandSpace(grammar, make_prior())
    assert space.words[:2] == ["go forward 0.5 metres", "go forward 1 metre"]
    assert space.words[2:] == ["turn left 30 degrees", "turn right 30 degrees"]
    batch = space.batch([[(2, 1), ()]])
    assert batch.texts == [["turn left 30 degrees, then go forward 1 metre", "stay where you are"]]
    assert batch.actions.shape == (1, 2, 7, 4)
    parameters = space.parameters([[(2, 1), ()]])
    torch.testing.assert_close(
        parameters[0], torch.tensor([[0, 0, np.pi / 6, 1, 0, 0], [0] * 6], dtype=torch.float64)
    )
    assert [space.command_of(each) for each in parameters[0].float()] == [(2, 1), ()]


def test_what_is_not_allowed_is_cut_at_its_end():
    grammar = CommandGrammar(lengths_cm=[100], turns_deg=[30])
    space = CommandSpace(grammar, make_prior(horizon=4))
    assert space.actions((0, 0, 0)) is None  # 3 m need 6 steps
    assert space.longest_allowed((0, 0, 0)) == (0, 0)
    forbidding = make_prior(constraints=parse_constraints("no left turn; no right turn"))
    assert CommandSpace(grammar, forbidding).longest_allowed((0, 1, 0)) == (0,)


def test_a_space_refuses_parameters_of_other_motions():
    space = CommandSpace(CommandGrammar(), make_prior())
    with pytest.raises(ValueError, match="not all motions of this grammar"):
        space.command_of(torch.tensor([0.33, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    with pytest.raises(ValueError, match="have 9 parameters; got 3"):
        space.command_of(torch.zeros(3))


def test_what_cannot_be_said_is_refused():
    with pytest.raises(ValueError, match="lengths_cm needs at least one entry, each once"):
        CommandGrammar(lengths_cm=[50, 50])
    with pytest.raises(ValueError, match="turns_deg must lie in 1 to 180"):
        CommandGrammar(turns_deg=[200])


def _imagined(model, reading, **config):
    frames = torch.from_numpy(np.stack([frame_of(pose) for pose in STARTS]))
    return command_evaluate(
        model,
        model.encode_context(frames[:, None]),
        latent_goal(model.encode(frames)),
        reading=reading,
        step_s=0.25,
        config=ImaginationConfig(**config),
        generator=torch.Generator().manual_seed(0),
    )


def test_a_perfect_model_imagines_the_same_of_words_and_of_what_they_mean():
    space = CommandSpace(CommandGrammar(), make_prior())
    batch = space.batch([[(), (0, 8), (3,)], [(9, 2), (), (1, 1)]])
    model = ListeningModel()
    worded = _imagined(model, CommandReading.wording)(batch)
    assert model.told == [text for own in batch.texts for text in own]
    assert model.asked[-1] == (2, 3, 1, 1)
    meant = _imagined(model, CommandReading.meaning)(batch)
    assert all(text.startswith("action:") for text in model.told)
    torch.testing.assert_close(worded, meant, atol=5e-3, rtol=5e-3)
    _imagined(model, CommandReading.meaning, mode=Mode.steps)(batch)
    assert model.asked[-1] == (2, 3, 7, 1)
    assert (worded[0, 0] < worded[0, 1:]).all()  # the goal is where it stands


@pytest.mark.parametrize("reading", list(CommandReading))
def test_a_command_costs_the_same_in_every_call(reading):
    space = CommandSpace(CommandGrammar(), make_prior())
    evaluate = _imagined(ListeningModel(noise=0.5), reading)
    batch = space.batch([[(0,), (1, 2)], [(2,), (3,)]])
    torch.testing.assert_close(evaluate(batch), evaluate(batch), rtol=0, atol=0)


def test_inverse_dynamics_is_not_asked_about_commands():
    with pytest.raises(ValueError, match=r"got inverse_weight=0\.5"):
        _imagined(ListeningModel(), CommandReading.wording, inverse_weight=0.5)


def test_by_meaning_evaluates_the_actions():
    batch = CommandSpace(CommandGrammar(), make_prior()).batch([[(0,), (6,)]])
    costs = by_meaning(lambda candidates: candidates[..., 0].sum(dim=2))(batch)
    torch.testing.assert_close(costs, torch.tensor([[0.25, 3.0]], dtype=torch.float64))
