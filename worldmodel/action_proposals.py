"""Action proposals: motions that the model itself writes after a context and a goal, as inverse dynamics.

Documents of the inverse kind (context frames, a goal frame, the action's text) have taught it to. Here the
text is drawn token by token from the model's own distribution, among the tokens that keep it an action.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from data_tools.action_text import HIGHEST, Action, format_action
from worldmodel.branching import Context, Past
from worldmodel.generation.token_choice import TextSampling, choose_tokens
from worldmodel.number_tokens import NumberReader
from worldmodel.predictor import WorldModel
from worldmodel.tokenizer import TextTokenizer
from worldmodel.vocabulary import FIELDS

MAX_TOKENS = len(FIELDS) - 1 + 6 + 6 + 5
"""Most tokens of a motion: three fields, a sign and five digits for dx and for dy, a digit less for dyaw."""


class MotionForm:
    """Which tokens may come next in the text of a motion, `action: dx=+0.335, dy=-0.020, dyaw=+0.120`.

    What these tokens allow, followed by a duration, is just what `data_tools.action_text` reads.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._words: dict[int, str] = {}
        for digit in "0123456789":
            # Cut into fields, signs and digits as every action is, though no action begins with two zeros.
            text = f"{FIELDS[0]}+{digit}{digit}.0{FIELDS[1]}-0.0{FIELDS[2]}"
            for index in tokenizer.encode(text).ids.tolist():
                self._words[index] = tokenizer.decode([index])
        self._ids = {word: index for index, word in self._words.items()}

    @property
    def first(self) -> int:
        """The token that every action begins with."""
        return self._ids[FIELDS[0]]

    def word(self, index: int) -> str:
        """Return the text of one of the tokens."""
        return self._words[index]

    def following(self, text: str) -> list[int]:
        """Return the tokens that may follow the beginning of a motion, in order; none if it is complete."""
        field = max(number for number, name in enumerate(FIELDS[:3]) if name in text)
        number = text[text.index(FIELDS[field]) + len(FIELDS[field]) :]
        if len(number.partition(".")[2]) == 3:
            return [self._ids[FIELDS[field + 1]]] if field < 2 else []
        return [self._ids[word] for word in _next_words(number, most=HIGHEST[field])]


class ActionProposer:
    """Writes motions after contexts that end with a goal (`WorldModel.extend_context`).

    `temperature` flattens the model's distribution over tokens; 0 takes the likeliest always, which makes all
    proposals of a problem the same.
    """

    def __init__(self, model: WorldModel, *, temperature: float = 1.0) -> None:
        self._model = model
        self._sampling = TextSampling(temperature=temperature, max_tokens=MAX_TOKENS)
        self._form = MotionForm(model.tokenizer)

    @torch.inference_mode()
    def propose_actions(
        self,
        context: Context,
        *,
        num_proposals: int,
        duration_s: float,
        generators: Sequence[torch.Generator],
    ) -> list[list[str]]:
        """Write actions that lead from each problem's context to its goal.

        Motions are drawn as the model would write them; the time that they take is given, since it is written
        last and a planner knows it.

        Args:
            context: Ends with the goal of each problem.
            num_proposals: Actions of each problem; some may be equal.
            duration_s: What all are written to take [s].
            generators: One random stream a problem; consumed.

        Returns:
            Texts of actions, nested as problem and proposal.

        Raises:
            ValueError: If there is not one generator a problem, or nothing is to be proposed.
        """
        if len(generators) != context.num_problems or num_proposals < 1:
            raise ValueError(
                f"needed a generator for each of {context.num_problems} problems and a proposal; "
                f"got {len(generators)} generators and num_proposals={num_proposals}"
            )
        uniform = torch.stack([torch.rand(MAX_TOKENS, num_proposals, generator=each) for each in generators])
        motions = self._write(context, uniform)
        written = format_action(Action(0.0, 0.0, 0.0, duration_s))
        duration = written[written.index(FIELDS[3]) :]
        texts = [text + duration for text in motions]
        return [texts[start : start + num_proposals] for start in range(0, len(texts), num_proposals)]

    def _write(self, context: Context, uniform: Float[Tensor, "problem token candidate"]) -> list[str]:
        """Return the motions at quantiles of the model's distributions, candidate by candidate."""
        shape = (uniform.shape[0], uniform.shape[2])
        texts = [self._form.word(self._form.first)] * (shape[0] * shape[1])
        readers = [NumberReader() for _ in texts]
        ids = torch.full((len(texts),), self._form.first)
        active = torch.ones(len(texts), dtype=torch.bool)
        past = Past.none(context, shape[1])
        for step in range(MAX_TOKENS):
            hidden, past = self._read(context, past, ids, readers, active)
            options = [
                self._form.following(text) if on else [] for text, on in zip(texts, active, strict=True)
            ]
            active = torch.tensor([bool(each) for each in options])
            if not active.any():
                break
            logits = torch.full((len(texts), self._model.tokenizer.vocab_size), -torch.inf)
            scores = self._model.transfusion.text_logits(hidden[active])
            is_open = torch.zeros(scores.shape, dtype=torch.bool)
            for row, allowed in zip(is_open, [each for each in options if each], strict=True):
                row[allowed] = True
            logits[active] = torch.where(is_open, scores.float(), -torch.inf)
            chosen = choose_tokens(logits[active], uniform[:, step].flatten()[active], self._sampling)
            ids[active] = chosen
            for row, index in zip(torch.nonzero(active)[:, 0].tolist(), chosen.tolist(), strict=True):
                texts[row] += self._form.word(index)
        return texts

    def _read(
        self,
        context: Context,
        past: Past,
        ids: Int[Tensor, " sequence"],
        readers: Sequence[NumberReader],
        active: Bool[Tensor, " sequence"],
    ) -> tuple[Float[Tensor, "sequence width"], Past]:
        """Read one more token of each active text; return what the model knows then, and the longer past."""
        shape = past.position.shape
        places, values = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.float32)
        is_value = np.zeros(len(ids), np.bool_)
        for row in torch.nonzero(active)[:, 0].tolist():
            places[row] = self._model.tokenizer.read(int(ids[row]), readers[row])
            if readers[row].is_complete:
                values[row], is_value[row] = float(readers[row].text), True
        columns = {
            name: torch.from_numpy(column).view(*shape, 1)
            for name, column in (("places", places), ("values", values), ("is_value", is_value))
        }
        branching = self._model.branching
        inputs = branching.token_inputs(ids.view(*shape, 1), past.position[..., None])
        is_valid = active.view(*shape, 1)
        hidden, kept = branching.read(context, past, replace(inputs, **columns), is_valid)
        extended = past.extended(kept, is_valid, past.position + is_valid[..., 0])
        return hidden.flatten(0, 2), extended  # problem candidate 1 -> sequence


def _next_words(number: str, *, most: float) -> list[str]:
    """Return what may follow the beginning of a signed number with three decimals, up to `most` in size."""
    if not number:
        return ["+", "-"]
    digits = "0123456789"
    if "." in number:
        # A zero has no minus, as in no text that the model has read.
        words = [each for each in digits if number + each != "-0.000"]
        return [each for each in words if float(number[1:] + each) <= most]
    if len(number) == 2:
        return [f"{each}." for each in digits]
    units = [f"{each}." for each in digits if int(each) <= most]
    return units + [each for each in digits[1:] if int(each) * 10 <= most]
