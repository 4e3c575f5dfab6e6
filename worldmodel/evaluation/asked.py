"""Asked: questions about pictures with known answers, and how often a model, or no model, is right."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from worldmodel.evaluation.intervals import mean_interval
from worldmodel.evaluation.protocols import AnswerNats, Answers
from worldmodel.evaluation.results import Row

Picture = Callable[[], UInt8[np.ndarray, "height width 3"]]


@dataclass(frozen=True)
class Asked:
    """A question about a picture. `kind` splits the results, `group` is what the bootstrap draws."""

    picture: Picture
    question: str
    answer: str
    kind: str
    group: str


def plain(answer: str) -> str:
    """Return an answer without case, outer space and final stop: what counts as the same."""
    return answer.strip().rstrip(".").strip().lower()


def shuffled(count: int, *, rng: np.random.Generator) -> list[int]:
    """Return for each picture the number of another one: a random cycle, so that none keeps its own."""
    if count < 2:
        raise ValueError(f"pictures can be exchanged if there are two, got {count}; ask about more")
    order = rng.permutation(count)
    partner = np.empty(count, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    return partner.tolist()


def with_other_pictures(items: Sequence[Asked], *, rng: np.random.Generator) -> list[Asked]:
    """Return the same questions asked about pictures of other items, of another group if there are any."""
    partner = shuffled(len(items), rng=rng)
    groups = {item.group for item in items}
    result = []
    for index, item in enumerate(items):
        other = partner[index]
        while len(groups) > 1 and items[other].group == item.group:
            other = partner[other]
        result.append(Asked(items[other].picture, item.question, item.answer, item.kind, item.group))
    return result


def majority_answers(items: Sequence[Asked]) -> list[str]:
    """Return for each item the answer that its question, as it is worded, has most often in these items.

    It knows the answers it is judged on, so that nothing without eyes does better.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        counts[item.question][plain(item.answer)] += 1
    return [counts[item.question].most_common(1)[0][0] for item in items]


def candidate_answers(items: Sequence[Asked]) -> list[list[str]]:
    """Return for each item all answers that questions of its kind have, sorted."""
    found: dict[str, set[str]] = defaultdict(set)
    for item in items:
        found[item.kind].add(item.answer)
    return [sorted(found[item.kind]) for item in items]


def is_right(items: Sequence[Asked], answers: Sequence[str]) -> Bool[np.ndarray, " item"]:
    """Return which answers are the known ones."""
    return np.array(
        [plain(item.answer) == plain(answer) for item, answer in zip(items, answers, strict=True)]
    )


def generated_answers(model: Answers, items: Sequence[Asked], *, at_once: int) -> list[str]:
    """Return what the model says, in the order of the items."""
    return [
        answer
        for part, frames in batches(items, at_once=at_once)
        for answer in model.answer(frames, [item.question for item in part])
    ]


def likeliest_answers(
    model: AnswerNats, items: Sequence[Asked], candidates: Sequence[Sequence[str]], *, at_once: int
) -> list[str]:
    """Return the candidate that the model finds likeliest, in the order of the items."""
    chosen: list[str] = []
    for part, frames in batches(items, at_once=at_once):
        own = candidates[len(chosen) : len(chosen) + len(part)]
        most = max(len(answers) for answers in own)
        filled = [[*answers, *[answers[-1]] * (most - len(answers))] for answers in own]
        nats = model.answer_nats(frames, [item.question for item in part], filled)
        chosen += [
            answers[int(np.argmin(np.asarray(costs)[: len(answers)]))]
            for answers, costs in zip(own, nats, strict=True)
        ]
    return chosen


def batches(
    items: Sequence[Asked], *, at_once: int
) -> Iterator[tuple[Sequence[Asked], UInt8[Tensor, "batch height width 3"]]]:
    """Yield items with their pictures, in order; pictures of one batch are of one size."""
    first = 0
    while first < len(items):
        pictures = [items[first].picture()]
        for item in items[first + 1 : first + at_once]:
            picture = item.picture()
            if picture.shape != pictures[0].shape:
                break
            pictures.append(picture)
        yield items[first : first + len(pictures)], torch.from_numpy(np.stack(pictures))
        first += len(pictures)


def accuracy_rows(
    items: Sequence[Asked],
    right: dict[str, Bool[np.ndarray, " item"]],
    *,
    baselines: Mapping[str, Sequence[str]],
    rng: np.random.Generator,
) -> list[Row]:
    """Return the accuracy of each method by kind, and how far methods are above their baselines (paired)."""
    rows: list[Row] = []
    kinds = sorted({item.kind for item in items})
    for kind in ["all", *kinds]:
        of_kind = np.array([kind in ("all", item.kind) for item in items])
        groups = [item.group for item, is_in in zip(items, of_kind, strict=True) if is_in]
        numbers = {name: value[of_kind].astype(np.float64) for name, value in right.items()}
        for name, values in numbers.items():
            found = mean_interval(values, groups, rng=rng)
            rows.append(
                Row.of(f"accuracy/{name}", kind, found, n=len(values), unit="questions", over="groups")
            )
        for name, baseline in ((name, each) for name, own in baselines.items() for each in own):
            found = mean_interval(numbers[name] - numbers[baseline], groups, rng=rng)
            measure = f"accuracy/{name} - {baseline}"
            rows.append(Row.of(measure, kind, found, n=len(groups), unit="questions", over="groups"))
    return rows
