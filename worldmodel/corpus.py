"""Corpus: one split of the data, and the stream of batches that is drawn from it."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_tools.builders import make_builders
from data_tools.mixture import Mixture
from data_tools.randomness import numpy_generator_for
from data_tools.splits import split_by_trajectory
from data_tools.text_sources import Use, read_texts_of_use
from data_tools.trajectory import Trajectory
from worldmodel.batches import Batches
from worldmodel.documents import LatentSource, Packer
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.recordings import open_recordings
from worldmodel.representation.cache import FrameCache, LatentCache
from worldmodel.representation.interface import Representation
from worldmodel.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Corpus:
    """What documents are made of: one split of the data."""

    trajectories: Sequence[Trajectory]
    texts: Sequence[str]
    latents: LatentSource
    recordings: str
    """Hash of the trajectories and their frames (`identity_of`)."""

    @property
    def identity(self) -> str:
        """Hash of all that documents are made of: a run goes on with the same alone."""
        digest = hashlib.sha256(self.recordings.encode())
        captions = (repr(trajectory.texts) for trajectory in self.trajectories)
        for text in itertools.chain(captions, self.texts):
            digest.update(f"{len(text)} {text}".encode())
        return digest.hexdigest()[:16]


def load_corpora(config: PretrainConfig, representation: Representation) -> tuple[Corpus, Corpus]:
    """Return the training and the held-out corpus; what is missing of the latents is made beside the data."""
    trajectories = open_recordings([config.data])
    split = split_by_trajectory(trajectories, seed=config.seed, held_out_fraction=config.heldout_share)
    texts = [read_texts_of_use(use, Path(config.text)) for use in (Use.training, Use.evaluation)]
    cache = Path(config.data) / ".cache"
    training, heldout = (
        make_corpus(representation, trajectories, text, cache)
        for trajectories, text in zip((split.train, split.held_out), texts, strict=True)
    )
    return training, heldout


def make_corpus(
    representation: Representation, trajectories: Sequence[Trajectory], texts: Sequence[str], cache: Path
) -> Corpus:
    """Return a corpus with the latents of all frames, after encoding those that `cache` does not hold."""
    frames = FrameCache.build(trajectories, cache, image_size=representation.image_size)
    identity = f"{representation.fingerprint}-{frames.identity}"
    latents = LatentCache.build(representation, frames, cache, identity=identity)
    return Corpus(trajectories, texts, latents, frames.identity)


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
    rng = numpy_generator_for(config.seed, f"{role}/times")
    return Batches(mixture, packer, rng=rng, data=corpus.identity)
