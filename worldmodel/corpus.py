"""Corpus: one split of the data, and the stream of batches that is drawn from it."""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_tools.builders import make_builders
from data_tools.mixture import Mixture
from data_tools.randomness import numpy_generator_for
from data_tools.splits import split_by_trajectory
from data_tools.text_sources import SOURCES, Use, read_texts
from data_tools.trajectory import Trajectory, read_trajectories
from worldmodel.batches import Batches
from worldmodel.documents import LatentSource, Packer
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.representation.cache import FrameCache, LatentCache, identity_of
from worldmodel.representation.rae import RaeRepresentation
from worldmodel.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Corpus:
    """What documents are made of: one split of the data."""

    trajectories: Sequence[Trajectory]
    texts: Sequence[str]
    latents: LatentSource


def load_corpora(config: PretrainConfig, representation: RaeRepresentation) -> tuple[Corpus, Corpus]:
    """Return the training and the held-out corpus; what is missing of the latents is made beside the data."""
    report = read_trajectories(Path(config.data))
    if report.num_skipped:
        print(f"skipped {report.num_skipped} incomplete trajectories of {config.data}", file=sys.stderr)
    split = split_by_trajectory(report.trajectories, seed=config.seed, held_out_fraction=config.heldout_share)
    texts = [
        [text for source in SOURCES if source.use is use for text in read_texts(source, Path(config.text))]
        for use in (Use.training, Use.evaluation)
    ]
    training, heldout = (
        Corpus(trajectories, text, cache_latents(representation, trajectories, Path(config.data) / ".cache"))
        for trajectories, text in zip((split.train, split.held_out), texts, strict=True)
    )
    return training, heldout


def cache_latents(
    representation: RaeRepresentation, trajectories: Sequence[Trajectory], folder: Path
) -> LatentCache:
    """Return the latents of all frames, encoding those that were not before."""
    frames = FrameCache.build(trajectories, folder, image_size=representation.image_size)
    identity = f"{representation.fingerprint}-{identity_of(trajectories)}"
    return LatentCache.build(representation, frames, folder, identity=identity)


def make_tokenizer(config: PretrainConfig, corpus: Corpus) -> TextTokenizer:
    """Learn the vocabulary from the training text and the recordings' captions, questions and commands."""
    recorded = (
        text.text if text.answer is None else f"{text.text} {text.answer}"
        for trajectory in corpus.trajectories
        for text in trajectory.texts
        if not text.held_out
    )
    return TextTokenizer.train(itertools.chain(corpus.texts, recorded), config.vocab_size)


def make_batches(
    config: PretrainConfig, corpus: Corpus, tokenizer: TextTokenizer, *, latents_per_frame: int, role: str
) -> Batches:
    """Return the batches of a corpus; `role` separates the random streams of training and held-out."""
    packer = Packer(
        tokenizer,
        corpus.latents,
        config.objective.flow,
        num_rows=config.num_rows,
        tokens_per_row=config.tokens_per_row,
        latents_per_frame=latents_per_frame,
    )
    shares = config.mixture.token_shares
    builders = make_builders(corpus.trajectories, corpus.texts, config.documents, kinds=tuple(shares))
    seed = int(numpy_generator_for(config.seed, role).integers(2**31))
    mixture = Mixture(builders, shares, seed=seed, count_tokens=packer.length)
    return Batches(mixture, packer, rng=numpy_generator_for(config.seed, f"{role}/times"))
