"""Commands: sentences of a small grammar, the actions that each means, and two ways to imagine them.

`turn left 30 degrees, then go forward 2 metres` is a candidate as an action sequence is: its text is read by
`data_tools.command_text`, and every command takes the whole horizon, whatever the number of its parts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from data_tools.action_text import round_actions
from data_tools.command_text import MAX_LENGTH_M, MAX_TURN_DEG, parse_command
from planners.candidates import TEXT_UNITS, Bounds, Prior
from planners.constraints import allowed
from planners.evaluate import ImaginationConfig, LatentGoal, imagine
from planners.plan import Evaluate
from planners.protocols import WorldModel

STILL_TEXT = "stay where you are"
LINK = ", then "

Command = tuple[int, ...]
"""The parts of a command, in order, as numbers of `CommandGrammar.parts`; the empty one stays."""


class Verb(Enum):
    """What a part of a command does; its value is the wording, one of those in training."""

    forward = "go forward {}"
    back = "go back {}"
    turn_left = "turn left {}"
    turn_right = "turn right {}"
    step_left = "step left {}"
    step_right = "step right {}"

    @property
    def is_turn(self) -> bool:
        """True if its amount is an angle."""
        return self in (Verb.turn_left, Verb.turn_right)

    def words(self, amount: int) -> str:
        """Word one part, of so many degrees or centimetres."""
        if self.is_turn:
            return self.value.format(f"{amount} {'degree' if amount == 1 else 'degrees'}")
        return self.value.format(f"{amount / 100:g} {'metre' if amount == 100 else 'metres'}")


@dataclass(frozen=True, kw_only=True)
class CommandGrammar:
    """Which commands there are: up to `max_parts` parts, each a verb with one of its amounts."""

    verbs: list[Verb] = field(default_factory=lambda: [Verb.forward, Verb.turn_left, Verb.turn_right])
    lengths_cm: list[int] = field(default_factory=lambda: [25, 50, 75, 100, 150, 200, 300])
    turns_deg: list[int] = field(default_factory=lambda: [10, 20, 30, 45, 60, 90])
    max_parts: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot be said, and what is said twice."""
        for name, chosen in (
            ("verbs", self.verbs),
            ("lengths_cm", self.lengths_cm),
            ("turns_deg", self.turns_deg),
        ):
            if not chosen or len(set(chosen)) != len(chosen):
                raise ValueError(f"{name} needs at least one entry, each once; got {chosen}")
        longest_cm = math.floor(MAX_LENGTH_M * 100)
        if not (1 <= min(self.lengths_cm) and max(self.lengths_cm) <= longest_cm):
            raise ValueError(f"lengths_cm must lie in 1 to {longest_cm}; got {self.lengths_cm}")
        if not (1 <= min(self.turns_deg) and max(self.turns_deg) <= MAX_TURN_DEG):
            raise ValueError(f"turns_deg must lie in 1 to {MAX_TURN_DEG:g}; got {self.turns_deg}")
        if self.max_parts < 1:
            raise ValueError(f"max_parts must be at least 1; got {self.max_parts}")

    @property
    def parts(self) -> list[tuple[Verb, int]]:
        """Every verb with each of its amounts."""
        return [(verb, amount) for verb in self.verbs for amount in self.amounts(verb)]

    def amounts(self, verb: Verb) -> list[int]:
        """Return what a verb may be told, in degrees or centimetres."""
        return self.turns_deg if verb.is_turn else self.lengths_cm


@dataclass(frozen=True)
class CommandBatch:
    """The same candidates as texts, nested as problem and candidate, and as actions."""

    texts: list[list[str]]
    actions: Float[Tensor, "problem sample step 4"]


EvaluateCommands = Callable[[CommandBatch], Float[Tensor, "problem sample"]]
"""Any function from commands to costs, lower is better; equal commands must cost the same."""


class CommandReading(Enum):
    """What a world model is given of a command."""

    meaning = "meaning"
    """The text of the action that it means: precise, and what most of the training is about."""

    wording = "wording"
    """Its own words, for the whole horizon at once: what the model has learned of language."""


def by_meaning(evaluate: Evaluate) -> EvaluateCommands:
    """Evaluate commands as the actions that they mean."""
    return lambda batch: evaluate(batch.actions)


def command_evaluate(
    world_model: WorldModel,
    context: Any,
    goal: LatentGoal,
    *,
    reading: CommandReading,
    step_s: float,
    config: ImaginationConfig,
    generator: torch.Generator,
) -> EvaluateCommands:
    """Return the cost of commands in a world model's imagination, with the same noise in every call.

    Args:
        world_model: What imagines.
        context: What `encode_context` made of the problems' context frames.
        goal: Compares the last latents with the goals.
        reading: What the model is given of a command.
        step_s: True time of one step [s].
        config: How to imagine; its mode counts for meanings alone, and it may not weigh inverse dynamics.
        generator: Random stream of the noise; not consumed.

    Returns:
        The function from commands to costs.

    Raises:
        ValueError: If `config` weighs inverse dynamics.
    """
    if config.inverse_weight:
        raise ValueError(
            f"commands are weighed by imagination alone; got inverse_weight={config.inverse_weight}: "
            "set it to 0, or evaluate meanings by `by_meaning(world_model_evaluate(...))`"
        )
    state = generator.get_state()

    def evaluate(batch: CommandBatch) -> Float[Tensor, "problem sample"]:
        noise = torch.Generator(generator.device)
        noise.set_state(state)
        match reading:
            case CommandReading.meaning:
                latents = imagine(
                    world_model,
                    context,
                    batch.actions,
                    step_s=step_s,
                    mode=config.mode,
                    num_steps=config.num_steps,
                    generator=noise,
                )
            case CommandReading.wording:
                told = [[[text] for text in own] for own in batch.texts]
                latents = world_model.rollout(context, told, num_steps=config.num_steps, generator=noise)
        return goal(latents[:, :, -1]).to(batch.actions)

    return evaluate


class CommandSpace:
    """The commands of a grammar over a prior's horizon, within its bounds and constraints."""

    def __init__(self, grammar: CommandGrammar, prior: Prior) -> None:
        self.grammar, self._prior = grammar, prior
        self.words = [verb.words(amount) for verb, amount in grammar.parts]
        self.motions = np.stack([parse_command(text)[0] for text in self.words])
        # The last row, which -1 finds, is that of no part.
        self._rows = torch.from_numpy(np.concatenate([self.motions, np.zeros((1, 3))])).to(prior.mean)
        self._known: dict[Command, Tensor | None] = {}

    def text(self, command: Command) -> str:
        """Return a command in plain language."""
        return LINK.join(self.words[part] for part in command) or STILL_TEXT

    def actions(self, command: Command) -> Float[Tensor, "step 4"] | None:
        """Return what a command means, or None if the horizon is too short or a constraint forbids it."""
        if command not in self._known:
            self._known[command] = self._work_out(command)
        return self._known[command]

    def longest_allowed(self, command: Command) -> Command:
        """Return a command without the last parts that are not allowed; ValueError if nothing is left."""
        for length in range(len(command), -1, -1):
            if self.actions(command[:length]) is not None:
                return command[:length]
        raise ValueError(
            f"neither {self.text(command)!r} nor a beginning of it, not even {STILL_TEXT!r}, obeys "
            f"{'; '.join(str(each) for each in self._prior.constraints)}; drop a constraint or widen it"
        )

    def batch(self, commands: Sequence[Sequence[Command]]) -> CommandBatch:
        """Return allowed commands, nested as problem and candidate, as texts and as actions."""
        found = [[self.actions(command) for command in own] for own in commands]
        actions = torch.stack([torch.stack([each for each in own if each is not None]) for own in found])
        return CommandBatch([[self.text(command) for command in own] for own in commands], actions)

    def parameters(self, commands: Sequence[Sequence[Command]]) -> Float[Tensor, "problem sample parameter"]:
        """Return the motions (dx, dy, dyaw) of every command's parts, zeros where it has no more."""
        parts = torch.tensor([[self._padded(each) for each in own] for own in commands])
        return self._rows[parts].flatten(2)  # problem sample part 3 -> problem sample (part 3)

    def command_of(self, parameters: Float[Tensor, " parameter"]) -> Command:
        """Return the command with these parameters; ValueError if it is not of this grammar."""
        if len(parameters) != 3 * self.grammar.max_parts:
            raise ValueError(
                f"commands of {self.grammar.max_parts} parts have {3 * self.grammar.max_parts} parameters; "
                f"got {len(parameters)}; warm-start with the parameters of an earlier command"
            )
        motions = parameters.numpy(force=True).reshape(-1, 3)
        moving = motions[np.abs(motions).max(axis=1) > 0]
        off = np.abs(moving[:, None] - self.motions).max(axis=2)
        # float32 keeps a motion of metres to a micrometre.
        if len(moving) and off.min(axis=1).max() > 1e-5:
            raise ValueError(
                f"{moving.tolist()} are not all motions of this grammar: warm-start with its own"
            )
        return tuple(off.argmin(axis=1).tolist())

    def _padded(self, command: Command) -> list[int]:
        return [*command, *[-1] * (self.grammar.max_parts - len(command))]

    def _work_out(self, command: Command) -> Float[Tensor, "step 4"] | None:
        prior = self._prior
        try:
            spread = spread_motions(
                self.motions[list(command)], horizon=prior.horizon, step_s=prior.dt_s, bounds=prior.bounds
            )
        except ValueError:
            return None
        actions = torch.from_numpy(spread).to(prior.mean)
        is_allowed = allowed(actions[None], prior.constraints, step_s=prior.dt_s)
        return actions if bool(is_allowed.all()) else None


def spread_motions(
    motions: Float64[np.ndarray, "part 3"], *, horizon: int, step_s: float, bounds: Bounds
) -> Float64[np.ndarray, "{horizon} 4"]:
    """Spread motions, one after the other, over all steps of a horizon, as evenly as their order lets.

    Each goes on along one axis (an arc does not). It gets the steps that the bounds make it take, and of
    the steps that are left each goes to the one that is fastest then. What the steps of a motion say as text
    sums up to what the motion says, without an error of rounding that grows.

    Args:
        motions: Displacements [m, m, rad], each in the robot frame in which it begins.
        horizon: Steps of a candidate.
        step_s: Time of one step [s].
        bounds: Largest motion of one step.

    Returns:
        The actions, rounded through the text.

    Raises:
        ValueError: If a motion moves along more than one axis, or the horizon is too short for all.
    """
    if (np.count_nonzero(motions, axis=1) > 1).any():
        raise ValueError(
            f"motions along one axis at a time can be spread over steps; got {motions.tolist()}: "
            "turn and go in two parts"
        )
    moving = motions[motions.any(axis=1)]
    actions = np.zeros((horizon, 4))
    actions[:, 3] = step_s
    if len(moving):
        sizes = (np.abs(moving) / [bounds.dx_m, bounds.dy_m, bounds.dyaw_rad]).max(axis=1)
        counts = _share_steps(sizes, horizon)
        steps = [_even_steps(motion, count) for motion, count in zip(moving, counts, strict=True)]
        actions[:, :3] = np.concatenate(steps)
    return round_actions(actions)


def _share_steps(sizes: Float64[np.ndarray, " part"], horizon: int) -> list[int]:
    """Return the steps of each motion, whose size is in largest motions of a step."""
    # What exceeds a whole number of steps by rounding alone needs no step more.
    counts = np.maximum(np.ceil(sizes - 1e-6), 1).astype(np.int64)
    if counts.sum() > horizon:
        raise ValueError(
            f"the motions need at least {counts.sum()} steps within the bounds; the horizon has {horizon}: "
            "ask for less, or lengthen it"
        )
    for _ in range(horizon - int(counts.sum())):
        counts[np.argmax(sizes / counts)] += 1
    return counts.tolist()


def _even_steps(motion: Float64[np.ndarray, " 3"], count: int) -> Float64[np.ndarray, "step 3"]:
    reached = np.rint(motion * TEXT_UNITS * np.arange(count + 1)[:, None] / count) / TEXT_UNITS
    return np.diff(reached, axis=0)
