"""Mixture: an endless stream of documents of all kinds, weighted by tokens; seeded, resumable, sharded."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from data_tools.builders import Builder
from data_tools.documents import Document, Kind
from data_tools.randomness import numpy_generator_for


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """Shares of tokens, in any unit; the defaults are those of nano.

    Action documents are forward, inverse and instructed ones, image-text documents captions and questions;
    the weights of those kinds share out what their group gets.
    """

    text: float = 10.0
    image_text: float = 10.0
    video: float = 20.0
    action: float = 60.0
    forward: float = 80.0
    inverse: float = 10.0
    instructed: float = 10.0
    caption: float = 50.0
    question: float = 50.0

    def __post_init__(self) -> None:
        groups = [
            (self.text, self.image_text, self.video, self.action),
            (self.forward, self.inverse, self.instructed),
            (self.caption, self.question),
        ]
        if any(min(group) < 0 or not 0 < sum(group) < float("inf") for group in groups):
            raise ValueError(f"the weights of a mixture must be finite, none negative, not all 0; got {self}")

    @property
    def token_shares(self) -> dict[Kind, float]:
        """Share of tokens of each kind that has any; they sum to 1."""
        total = self.text + self.image_text + self.video + self.action
        action = self.action / total / (self.forward + self.inverse + self.instructed)
        image_text = self.image_text / total / (self.caption + self.question)
        shares = {
            Kind.forward: action * self.forward,
            Kind.inverse: action * self.inverse,
            Kind.instructed: action * self.instructed,
            Kind.caption: image_text * self.caption,
            Kind.question: image_text * self.question,
            Kind.video: self.video / total,
            Kind.text: self.text / total,
        }
        return {kind: share for kind, share in shares.items() if share > 0}


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Which of `num_shards` disjoint parts of the stream this is: one for each worker of each rank."""

    index: int = 0
    num_shards: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.num_shards:
            raise ValueError(f"a shard's index must be in [0, {self.num_shards}); got {self.index}")

    @classmethod
    def of(cls, *, rank: int, num_ranks: int, worker: int = 0, num_workers: int = 1) -> "Shard":
        """Return the shard of one worker of one rank."""
        if not 0 <= worker < num_workers:
            raise ValueError(f"worker must be in [0, {num_workers}); got {worker}")
        return cls(index=rank * num_workers + worker, num_shards=num_ranks * num_workers)


class Mixture:
    """An iterator of documents that never ends.

    Document i of a kind is a pure function of (seed, kind, i); shard s of n holds i = s, s + n, s + 2n, ...
    The next kind is the one that is furthest behind its share of the tokens given so far: nothing is drawn
    for it, and the shares are met as closely as the lengths of documents allow. `count_tokens` gives the
    length of a document.
    """

    def __init__(
        self,
        builders: Mapping[Kind, Builder],
        shares: Mapping[Kind, float],
        *,
        seed: int,
        count_tokens: Callable[[Document], int],
        shard: Shard | None = None,
    ) -> None:
        if not all(0 <= share < float("inf") for share in shares.values()) or not any(shares.values()):
            raise ValueError(f"a mixture needs finite shares, none negative, not all 0; got {dict(shares)}")
        wanted = {kind: share for kind, share in shares.items() if share > 0}
        if missing := [kind.value for kind in wanted if kind not in builders]:
            raise ValueError(f"no builder for {', '.join(missing)}; give one, or give these kinds no weight")
        total = sum(wanted.values())
        # In the order of Kind, so that ties do not depend on how a mapping was written.
        self._shares = {kind: wanted[kind] / total for kind in Kind if kind in wanted}
        self._builders, self._seed, self._count_tokens = builders, seed, count_tokens
        self._shard = shard or Shard()
        self._num_documents = dict.fromkeys(self._shares, 0)
        self._num_tokens = dict.fromkeys(self._shares, 0)

    @property
    def num_documents(self) -> dict[Kind, int]:
        """Documents given so far, by kind."""
        return dict(self._num_documents)

    @property
    def num_tokens(self) -> dict[Kind, int]:
        """Tokens given so far, by kind."""
        return dict(self._num_tokens)

    def __iter__(self) -> Iterator[Document]:
        return self

    def __next__(self) -> Document:
        total = sum(self._num_tokens.values()) + 1
        kind = max(self._shares, key=lambda kind: self._shares[kind] * total - self._num_tokens[kind])
        document = self.document(kind, self._num_documents[kind])
        num_tokens = self._count_tokens(document)
        if num_tokens < 1:
            raise ValueError(f"a {kind.value} document has {num_tokens} tokens; a share of tokens needs some")
        self._num_documents[kind] += 1
        self._num_tokens[kind] += num_tokens
        return document

    def document(self, kind: Kind, number: int) -> Document:
        """Make document `number` of a kind in this shard, whatever was given before."""
        index = self._shard.index + number * self._shard.num_shards
        rng = numpy_generator_for(self._seed, f"data/{kind.value}", rank=index)
        return self._builders[kind].build(rng=rng)

    def state_dict(self) -> dict[str, object]:
        """Return all that goes on from here needs, as plain numbers and strings for JSON."""
        return {
            "seed": self._seed,
            "shard": [self._shard.index, self._shard.num_shards],
            "num_documents": {kind.value: count for kind, count in self._num_documents.items()},
            "num_tokens": {kind.value: count for kind, count in self._num_tokens.items()},
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on where a mixture of equal seed, kinds and shard stopped; ValueError for any other."""
        own = self.state_dict()
        num_documents, num_tokens = state.get("num_documents"), state.get("num_tokens")
        if not isinstance(num_documents, Mapping) or not isinstance(num_tokens, Mapping):
            raise ValueError("the state of a mixture needs num_documents and num_tokens by kind")
        fixed = {"seed": state.get("seed"), "shard": state.get("shard"), "kinds": set(num_documents)}
        needed = {"seed": self._seed, "shard": own["shard"], "kinds": {kind.value for kind in self._shares}}
        if fixed != needed or set(num_tokens) != needed["kinds"]:
            raise ValueError(f"this state is of another mixture: needed {needed}, got {fixed}")
        self._num_documents = {kind: int(num_documents[kind.value]) for kind in self._shares}
        self._num_tokens = {kind: int(num_tokens[kind.value]) for kind in self._shares}
