"""Command search: plans in plain language, by beam search and by the cross-entropy method over a grammar."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from planners.candidates import Prior
from planners.commands import (
    Command,
    CommandGrammar,
    CommandSpace,
    EvaluateCommands,
    by_meaning,
)
from planners.plan import Evaluate, Iteration, Plan, checked

NOTHING: Command = ()


@dataclass(frozen=True, kw_only=True)
class CommandPlan(Plan):
    """A plan whose actions are what a command means; its parameters are the motions of the parts.

    Nothing Gaussian is drawn: `mean` and `std` of an iteration are those of its candidates.
    """

    texts: tuple[str, ...]
    """Each problem's command in plain language."""


@runtime_checkable
class CommandSearch(Protocol):
    """Searches commands by any evaluation of them."""

    def search(
        self,
        evaluate: EvaluateCommands,
        prior: Prior,
        *,
        generators: Sequence[torch.Generator],
        warm_start: Float[Tensor, "problem parameter"] | None = None,
        refine: EvaluateCommands | None = None,
    ) -> CommandPlan:
        """Search one command for each generator."""
        ...


@dataclass(frozen=True)
class CommandPlanner:
    """A search over commands as a `planners.plan.Planner`: each is evaluated as the actions that it means."""

    commands: CommandSearch

    def plan(
        self,
        evaluate: Evaluate,
        prior: Prior,
        *,
        generators: Sequence[torch.Generator],
        warm_start: Float[Tensor, "problem parameter"] | None = None,
        refine: Evaluate | None = None,
    ) -> CommandPlan:
        """Search one plan for each generator, by what commands mean."""
        return self.commands.search(
            by_meaning(evaluate),
            prior,
            generators=generators,
            warm_start=warm_start,
            refine=None if refine is None else by_meaning(refine),
        )


@dataclass(frozen=True, kw_only=True)
class CommandBeamConfig:
    """Grammar and budget: one evaluation, then all parts after each command of the beam."""

    grammar: CommandGrammar = field(default_factory=CommandGrammar)
    beam_width: int = 6
    first_width: int | None = None
    """Commands of one part that are gone on from; None is all: the next part shows what a turn is for."""
    refine_top: int = 0
    """Commands of lowest cost that are evaluated again by a finer evaluation, if there is one."""

    def __post_init__(self) -> None:
        """Refuse a beam of nothing."""
        narrowest = min(self.beam_width, 1 if self.first_width is None else self.first_width)
        if narrowest < 1 or self.refine_top < 0:
            raise ValueError(
                "beam_width and first_width must be at least 1 and refine_top not negative; got "
                f"{self.beam_width}, {self.first_width} and {self.refine_top}"
            )


@dataclass(frozen=True, kw_only=True)
class CommandCemConfig:
    """Grammar and budget: `num_candidates * num_iterations` evaluations."""

    grammar: CommandGrammar = field(default_factory=CommandGrammar)
    num_candidates: int = 64
    num_elites: int = 8
    num_iterations: int = 4
    smoothing: float = 0.3
    """Share of the old probabilities in the new: above 0, what is left undrawn once can still be drawn."""
    refine_top: int = 0
    """Commands of lowest cost that are evaluated again by a finer evaluation, if there is one."""

    def __post_init__(self) -> None:
        """Refuse budgets that cannot work."""
        if not 1 <= self.num_elites <= self.num_candidates:
            raise ValueError(
                f"need 1 <= num_elites <= num_candidates; got {self.num_elites} and {self.num_candidates}"
            )
        if self.num_iterations < 1 or self.refine_top < 0 or not 0 <= self.smoothing < 1:
            raise ValueError(
                "num_iterations must be at least 1, refine_top not negative and smoothing in [0, 1); got "
                f"{self.num_iterations}, {self.refine_top} and {self.smoothing}"
            )


class CommandBeam:
    """Beam search: the best commands of so many parts, each extended by every part of the grammar.

    The answer is the best command of any length; staying is one. Nothing is drawn: of equal commands the
    earlier wins.

    The beam goes on from the best of each length although shorter ones may be better, and its places are
    shared among the verbs that commands end with: a turn alone brings no goal nearer, and may be the
    beginning of the best.
    """

    def __init__(self, config: CommandBeamConfig) -> None:
        self.config = config

    def search(
        self,
        evaluate: EvaluateCommands,
        prior: Prior,
        *,
        generators: Sequence[torch.Generator],
        warm_start: Float[Tensor, "problem parameter"] | None = None,
        refine: EvaluateCommands | None = None,
    ) -> CommandPlan:
        """Search one command for each generator.

        Args:
            evaluate: The cost of commands; called once, and once more for each part that a command may have.
            prior: Its horizon, bounds and constraints hold; what it expects is not asked.
            generators: One a problem; not consumed.
            warm_start: Parameters of earlier command plans, evaluated beside the first command.
            refine: A finer and slower evaluation for the `refine_top` best; None leaves their costs.

        Returns:
            The plans, with all commands that were considered.
        """
        space = CommandSpace(self.config.grammar, prior)
        history = _History(space, evaluate)
        warm = _warm_commands(warm_start, space, num_problems=len(generators))
        history.consider([[space.longest_allowed(NOTHING), *own] for own in warm])
        beams: list[list[Command]] = [[NOTHING] for _ in generators]
        for num_parts in range(1, self.config.grammar.max_parts + 1):
            extended = [self._extended(beam, space) for beam in beams]
            widest = max(len(own) for own in extended)
            if widest == 0:
                break
            # All problems evaluate equally many: what one lacks repeats a command that is known.
            fillers = [own or [space.longest_allowed(NOTHING)] for own in extended]
            costs = history.consider([own + own[:1] * (widest - len(own)) for own in fillers])
            width = self.config.first_width if num_parts == 1 else self.config.beam_width
            beams = [
                self._best(own, row[: len(own)], space)[:width]
                for own, row in zip(extended, costs, strict=True)
            ]
        return history.answer(refine, refine_top=self.config.refine_top)

    def _best(
        self, commands: Sequence[Command], costs: Float[Tensor, " sample"], space: CommandSpace
    ) -> list[Command]:
        """Return all in the order of the beam: the best that end with each verb, then the second best, ..."""
        parts, ranks, keys = space.grammar.parts, dict.fromkeys(space.grammar.verbs, 0), []
        for order, index in enumerate(costs.argsort(stable=True).tolist()):
            verb, _ = parts[commands[index][-1]]
            ranks[verb] += 1
            keys.append((ranks[verb], order, index))
        return [commands[index] for _, _, index in sorted(keys)]

    def _extended(self, beam: Sequence[Command], space: CommandSpace) -> list[Command]:
        longer = ((*command, part) for command in beam for part in range(len(space.words)))
        return [command for command in longer if space.actions(command) is not None]


class CommandCem:
    """Cross-entropy method over a grammar: each part's verb, and each verb's amount, is drawn by itself.

    An iteration draws commands from categorical distributions, evaluates them, and moves the distributions
    towards the frequencies among the elites: the best of these commands *and the elites so far*. `Nothing`
    is one of the verbs, so the number of parts is found too. A command that is not allowed loses its last
    parts until it is. The first of all commands is staying; the answer is the best command of all.

    Source: Rubinstein 1999 (discrete case), with the smoothing of de Boer et al. 2005, equation 25.
    """

    def __init__(self, config: CommandCemConfig) -> None:
        self.config = config

    def search(
        self,
        evaluate: EvaluateCommands,
        prior: Prior,
        *,
        generators: Sequence[torch.Generator],
        warm_start: Float[Tensor, "problem parameter"] | None = None,
        refine: EvaluateCommands | None = None,
    ) -> CommandPlan:
        """Search one command for each generator.

        Args:
            evaluate: The cost of commands; called `num_iterations` times.
            prior: Its horizon, bounds and constraints hold; what it expects is not asked.
            generators: One random stream a problem; consumed.
            warm_start: Parameters of earlier command plans: the last of the first candidates.
            refine: A finer and slower evaluation for the `refine_top` best; None leaves their costs.

        Returns:
            The plans, with all commands that were considered.
        """
        config = self.config
        space = CommandSpace(config.grammar, prior)
        history = _History(space, evaluate)
        warm = _warm_commands(warm_start, space, num_problems=len(generators))
        distributions = [_Distribution(config.grammar) for _ in generators]
        elites: list[list[tuple[float, list[int]]]] = [[] for _ in generators]
        for iteration in range(config.num_iterations):
            slots = [
                own.draw(config.num_candidates, generator=generator).tolist()
                for own, generator in zip(distributions, generators, strict=True)
            ]
            if iteration == 0:
                for own, commands in zip(slots, warm, strict=True):
                    _place(own, [NOTHING, *commands], num_slots=config.grammar.max_parts)
            commands = [[_admitted(each, space) for each in own] for own in slots]
            costs = history.consider(commands).tolist()
            for index, distribution in enumerate(distributions):
                pool = [*elites[index], *zip(costs[index], slots[index], strict=True)]
                elites[index] = sorted(pool, key=lambda each: each[0])[: config.num_elites]
                chosen = torch.tensor([each for _, each in elites[index]])
                distribution.move_towards(chosen, smoothing=config.smoothing)
        return history.answer(refine, refine_top=config.refine_top)


class _Distribution:
    """What one problem's commands are drawn from: each part's verbs (the last is none), and their amounts."""

    def __init__(self, grammar: CommandGrammar) -> None:
        num_amounts = [len(grammar.amounts(verb)) for verb in grammar.verbs]
        count, most = len(num_amounts), max(num_amounts)
        self._first_part = torch.tensor([sum(num_amounts[:index]) for index in range(count)] + [-1])
        verbs = [index for index, number in enumerate(num_amounts) for _ in range(number)]
        amounts = [index for number in num_amounts for index in range(number)]
        # -1, no part, finds the last row: the verb that is none, and its only amount.
        self._verb_of, self._amount_of = torch.tensor([*verbs, count]), torch.tensor([*amounts, 0])
        is_there = torch.arange(most) < torch.tensor([*num_amounts, 1])[:, None]
        even = is_there.double() / is_there.sum(dim=1, keepdim=True)
        self.verbs: Float64[Tensor, "part verb"] = torch.full(
            (grammar.max_parts, count + 1), 1 / (count + 1), dtype=torch.float64
        )
        self.amounts: Float64[Tensor, "part verb amount"] = even.repeat(grammar.max_parts, 1, 1)

    def draw(self, count: int, *, generator: torch.Generator) -> Int64[Tensor, "{count} part"]:
        """Draw the parts of so many commands, -1 for none."""
        num_parts = len(self.verbs)
        uniform = torch.rand(count, num_parts, 2, generator=generator, dtype=torch.float64)
        verb = _quantile(self.verbs.expand(count, -1, -1), uniform[..., 0])
        amount = _quantile(self.amounts[torch.arange(num_parts), verb], uniform[..., 1])
        return torch.where(verb == self.verbs.shape[1] - 1, -1, self._first_part[verb] + amount)

    def move_towards(self, elites: Int64[Tensor, "elite part"], *, smoothing: float) -> None:
        """Mix the frequencies among elites in; amounts of a verb that none of them has stay as they are."""
        counts = torch.zeros_like(self.amounts)
        part = torch.arange(elites.shape[1]).expand_as(elites)
        index = (part, self._verb_of[elites], self._amount_of[elites])
        counts.index_put_(index, torch.ones(elites.shape, dtype=torch.float64), accumulate=True)
        of_verb = counts.sum(dim=2)
        self.verbs = smoothing * self.verbs + (1 - smoothing) * of_verb / len(elites)
        frequency = counts / of_verb.clamp_min(1)[..., None]
        moved = smoothing * self.amounts + (1 - smoothing) * frequency
        self.amounts = torch.where((of_verb > 0)[..., None], moved, self.amounts)


class _History:
    """What a search has considered so far, iteration by iteration."""

    def __init__(self, space: CommandSpace, evaluate: EvaluateCommands) -> None:
        self._space, self._evaluate = space, evaluate
        self._iterations: list[Iteration] = []
        self._commands: list[list[list[Command]]] = []

    def consider(self, commands: list[list[Command]]) -> Float[Tensor, "problem sample"]:
        """Evaluate equally many commands of each problem, and return their costs."""
        batch = self._space.batch(commands)
        costs = checked(self._evaluate(batch), batch.actions)
        parameters = self._space.parameters(commands)
        iteration = Iteration.given(batch.actions, parameters, costs)
        self._iterations.append(iteration)
        self._commands.append(commands)
        return costs

    def answer(self, refine: EvaluateCommands | None, *, refine_top: int) -> CommandPlan:
        """Return each problem's best command, after a finer evaluation of the best if there is one."""
        all_costs = torch.cat([each.costs for each in self._iterations], dim=1)
        best, costs = [], []
        for problem, own_costs in enumerate(all_costs):
            own = [command for commands in self._commands for command in commands[problem]]
            order = own_costs.argsort(stable=True).tolist()
            # A search comes back to good commands: each counts once.
            distinct = list(dict.fromkeys(own[index] for index in order))
            best.append(distinct[: max(1, refine_top)])
            costs.append(own_costs[order[0]])
        chosen, cost = [own[0] for own in best], torch.stack(costs)
        if refine is not None and refine_top:
            widest = max(len(own) for own in best)
            filled = [own + own[:1] * (widest - len(own)) for own in best]
            batch = self._space.batch(filled)
            cost, index = checked(refine(batch), batch.actions).min(dim=1)
            chosen = [own[each] for own, each in zip(filled, index.tolist(), strict=True)]
        batch = self._space.batch([[command] for command in chosen])
        return CommandPlan(
            actions=batch.actions[:, 0],
            parameters=self._space.parameters([[command] for command in chosen])[:, 0],
            cost=cost,
            iterations=tuple(self._iterations),
            texts=tuple(text for (text,) in batch.texts),
        )


def _warm_commands(
    warm_start: Float[Tensor, "problem parameter"] | None, space: CommandSpace, *, num_problems: int
) -> list[list[Command]]:
    if warm_start is None:
        return [[] for _ in range(num_problems)]
    return [[space.longest_allowed(space.command_of(own))] for own in warm_start]


def _place(slots: list[list[int]], commands: list[Command], *, num_slots: int) -> None:
    """Put the first command in the place of the first candidate, the others in those of the last."""
    padded = [[*command, *[-1] * (num_slots - len(command))] for command in commands]
    slots[0] = padded[0]
    if len(padded) > 1 and len(slots) > 1:
        slots[1 - len(padded) :] = padded[1:]


def _admitted(slots: list[int], space: CommandSpace) -> Command:
    """Return the allowed command of drawn parts; parts that are not allowed are taken out of the draw too."""
    filled = [index for index, part in enumerate(slots) if part >= 0]
    command = space.longest_allowed(tuple(slots[index] for index in filled))
    for index in filled[len(command) :]:
        slots[index] = -1
    return command


def _quantile(
    probabilities: Float64[Tensor, "sample part choice"], uniform: Float64[Tensor, "sample part"]
) -> Int64[Tensor, "sample part"]:
    """Return the choice at a quantile in [0, 1); never one without probability."""
    reached = probabilities.cumsum(dim=2)
    chosen = (reached <= (uniform * reached[..., -1])[..., None]).sum(dim=2)
    # Rounding may put the quantile past the end: then it is the last that has any probability.
    last = probabilities.shape[2] - 1 - (probabilities > 0).to(torch.uint8).flip(2).argmax(dim=2)
    return torch.minimum(chosen, last)
