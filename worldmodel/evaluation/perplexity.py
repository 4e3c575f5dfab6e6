"""Perplexity: `python -m worldmodel.evaluation.perplexity model=FOLDER data=[PATH,...] out=FOLDER`.

Every path is a source: a file of text, or a folder with all of them (a folder of DCLM shards, say); a pattern
in quotes (`"data=['texts/*']"`) makes one source of each match. Documents are taken in the order of the
files, all of them or the first `max_documents`; each is cut into consecutive windows of the model's
row length, and every token of it is predicted exactly once, from <bos> and what is before it in its window.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import hydra
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from omegaconf import MISSING, DictConfig
from rich.progress import track
from torch import Tensor

from data_tools.config import store, to_object
from data_tools.randomness import numpy_generator_for
from worldmodel.attend import PackedAttend
from worldmodel.attention import hybrid_mask
from worldmodel.evaluation.intervals import ratio_interval
from worldmodel.evaluation.results import Row, hash_texts, publish_run
from worldmodel.evaluation.text_files import TextSource, open_sources, read_documents
from worldmodel.feedforward import Modalities
from worldmodel.model_folder import load_model
from worldmodel.precision import Precision
from worldmodel.predictor import WorldModel
from worldmodel.transfusion import TokenInputs


@dataclass(frozen=True, kw_only=True)
class PerplexityConfig:
    """What is scored, and in windows of which length."""

    model: str = MISSING
    data: list[str] = field(default_factory=list)
    """Files, folders or patterns of text."""
    out: str = MISSING
    text_field: str = "text"
    """Field of JSON lines and column of Parquet files that holds the text."""
    window_tokens: int = 384
    """Tokens of a window, <bos> included: the row length that the model was trained with (nano: 384)."""
    max_documents: int | None = None
    """Documents taken of a source, from its beginning; None takes all."""
    windows_at_once: int = 8
    seed: int = 0
    """Of the bootstrap alone."""
    num_threads: int = 1
    precision: Precision = Precision.float32

    def __post_init__(self) -> None:
        if self.window_tokens < 2 or self.windows_at_once < 1 or (self.max_documents or 1) < 1:
            raise ValueError(
                "needed window_tokens of at least 2, windows_at_once and max_documents of at least 1; got "
                f"{self.window_tokens}, {self.windows_at_once} and {self.max_documents}"
            )


@dataclass(frozen=True)
class ScoredWindow:
    """What one window of a document cost."""

    document: int
    nats: float
    num_tokens: int
    num_bytes: int


def score_source(model: WorldModel, documents: Sequence[str], config: PerplexityConfig) -> list[ScoredWindow]:
    """Return all windows of all documents, in order."""
    cut = _windows(model, documents, length=config.window_tokens - 1)
    scored: list[ScoredWindow] = []
    while batch := list(islice(cut, config.windows_at_once)):
        nats = window_nats(model, [ids for _, ids in batch])
        scored += [
            ScoredWindow(number, float(cost.double().sum()), len(ids), model.tokenizer.num_bytes(ids))
            for (number, ids), cost in zip(batch, nats, strict=True)
        ]
    return scored


def _windows(
    model: WorldModel, documents: Sequence[str], *, length: int
) -> Iterator[tuple[int, Int64[np.ndarray, " token"]]]:
    for number, document in enumerate(documents):
        ids = model.tokenizer.encode(document).ids
        for first in range(0, len(ids), length):
            yield number, ids[first : first + length]


@torch.inference_mode()
def window_nats(model: WorldModel, windows: Sequence[Int64[np.ndarray, " _"]]) -> list[Float[Tensor, " _"]]:
    """Return the nats of every token of each window (of any length), after <bos> and those before it."""
    longest = 1 + max(len(ids) for ids in windows)
    shape = (len(windows), longest)
    ids, places = np.full(shape, model.tokenizer.pad), np.zeros(shape, dtype=np.int64)
    values, is_value = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.bool_)
    reach = np.tile(np.arange(1, longest + 1), (len(windows), 1))  # padding sees itself alone
    for row, own in enumerate(windows):
        end = 1 + len(own)
        # Annotated anew: a number that began before the window is not seen by it.
        tokens = model.tokenizer.annotate(np.asarray(own))
        ids[row, 0], ids[row, 1:end], reach[row, :end] = model.tokenizer.begin, tokens.ids, end
        places[row, 1:end], values[row, 1:end] = tokens.places, tokens.values
        is_value[row, 1:end] = tokens.is_value
    positions = np.zeros((*shape, 3), dtype=np.int64)
    positions[..., 0] = np.arange(longest)
    inputs = TokenInputs(
        ids=torch.from_numpy(ids),
        places=torch.from_numpy(places),
        values=torch.from_numpy(values),
        is_value=torch.from_numpy(is_value),
        is_image=torch.zeros(shape, dtype=torch.bool),
        latents=torch.zeros(1, 1, model.transfusion.channels_in).expand(*shape, -1),
        times=torch.zeros(shape),
        positions=torch.from_numpy(positions),
    )
    attend = PackedAttend(hybrid_mask(torch.from_numpy(reach), torch.full(shape, -1)), lookahead=0)
    hidden, _ = model.transfusion(inputs, attend, Modalities.of(inputs.is_image), dtype=model.dtype)
    nats = []
    for row, own in enumerate(windows):
        logits = model.transfusion.text_logits(hidden[row, : len(own)])
        nats.append(F.cross_entropy(logits, inputs.ids[row, 1 : 1 + len(own)], reduction="none"))
    return nats


def rows_of(name: str, windows: Sequence[ScoredWindow], *, rng: np.random.Generator) -> list[Row]:
    """Return nats a token, perplexity and bits a byte of one source.

    The interval is over documents; of a source that is one document it is over its windows.
    """
    documents = [str(window.document) for window in windows]
    is_one = len(set(documents)) == 1
    groups = [str(number) for number in range(len(windows))] if is_one else documents
    over = "windows" if is_one else "documents"
    nats, tokens, num_bytes = (
        np.array([getattr(window, name) for window in windows], dtype=np.float64)
        for name in ("nats", "num_tokens", "num_bytes")
    )
    by_token = ratio_interval(nats, tokens, groups, rng=rng)
    by_byte = ratio_interval(nats, num_bytes, groups, rng=rng).scaled(1 / math.log(2))
    counts = {"n": int(tokens.sum()), "unit": "tokens"}
    perplexity = Row(
        measure="perplexity",
        subset=name,
        value=math.exp(by_token.value),
        low=None if by_token.low is None else math.exp(by_token.low),
        high=None if by_token.high is None else math.exp(by_token.high),
        over=None if by_token.low is None else over,
        **counts,  # pyright: ignore[reportArgumentType]
    )
    return [
        Row.of("nats_per_token", name, by_token, n=int(tokens.sum()), unit="tokens", over=over),
        perplexity,
        Row.of("bits_per_byte", name, by_byte, n=int(num_bytes.sum()), unit="bytes", over=over),
        Row(
            measure="documents", subset=name, value=float(len(set(documents))), n=len(windows), unit="windows"
        ),
    ]


def evaluate(
    model: WorldModel, sources: Sequence[TextSource], config: PerplexityConfig
) -> tuple[list[Row], str]:
    """Return the rows of all sources, and a hash of the documents that they are of."""
    rows, hashes = [], []
    for source in track(sources, description="perplexity"):
        documents = list(
            islice(
                (text for text in read_documents(source, text_field=config.text_field) if text.strip()),
                config.max_documents,
            )
        )
        if not documents:
            print(f"{source.name}: no documents with text; it has no row", file=sys.stderr)
            continue
        hashes.append(hash_texts([source.name, *documents]))
        rng = numpy_generator_for(config.seed, f"bootstrap/{source.name}")
        rows += rows_of(source.name, score_source(model, documents, config), rng=rng)
    return rows, hash_texts(hashes)


def run(config: PerplexityConfig) -> list[Row]:
    """Score what the configuration names, and write the rows."""
    torch.set_num_threads(config.num_threads)
    if not config.data:
        raise ValueError("needed at least one path of text, got none; give data=[PATH,...]")
    sources = open_sources(config.data)
    model = load_model(config.model, dtype=config.precision.dtype)
    rows, data_hash = evaluate(model, sources, config)
    publish_run("perplexity", config, rows, data=", ".join(config.data), data_hash=data_hash)
    return rows


store("perplexity_schema", PerplexityConfig)


@hydra.main(version_base=None, config_path="../conf", config_name="perplexity")
def main(node: DictConfig) -> None:
    """Run the configured evaluation."""
    run(to_object(node, PerplexityConfig))


if __name__ == "__main__":
    main()
