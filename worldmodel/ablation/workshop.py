"""Workshop: makes the rows of runs one after another, and keeps opened data for the next that needs it."""

import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data_tools.documents import Kind
from data_tools.file_lock import locked
from data_tools.provenance import current_commit, installed_versions
from worldmodel.ablation.imagined import Problems, cut_problems, measure_actions, measure_next_frame
from worldmodel.ablation.measures import HeldOut, measure_losses
from worldmodel.ablation.rows import Row, versions_text, write_rows
from worldmodel.ablation.table import Budget, Run
from worldmodel.corpus import Corpus, load_corpora, make_batches, make_tokenizer
from worldmodel.model_folder import load_model
from worldmodel.pretrain import MODEL, STEPS, train
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.representation.interface import Representation
from worldmodel.representation.open import load_representation
from worldmodel.sizes import count_parameters
from worldmodel.tokenizer import TextTokenizer
from worldmodel.training_record import hardware, read_record

NUM_CHECKPOINTS = 4
"""Of a run: what is killed loses at most a quarter of it."""
NUM_COUNTED = 12
"""Batches whose tokens say how many steps a budget of tokens is."""
MOST_OPEN = 4
"""Representations whose latents are kept in memory."""
ROWS = "rows"
RUNS = "runs"
SPLIT_SEED = 0
"""Chooses held-out recordings, documents and problems; the seeds of runs do not: all are held to the same."""


@dataclass(frozen=True)
class Opened:
    """What the runs of one representation share."""

    representation: Representation
    training: Corpus
    heldout: Corpus


def row_path(out: Path, run: Run) -> Path:
    """Return where the row of a run lies."""
    return out / ROWS / f"{run.name}.parquet"


class Workshop:
    """Makes rows in `out/rows`; what a run needs on the way lies in `out/runs`.

    A run that was killed goes on from its last checkpoint. `keep_models` leaves trained models in `out/runs`.
    """

    def __init__(self, out: Path, *, keep_models: bool = False) -> None:
        self._out, self._keep_models = out, keep_models
        self._opened: dict[tuple[str, ...], Opened] = {}
        self._problems: dict[str, Problems] = {}

    def make_row(self, run: Run) -> None:
        """Train, measure and write the row, unless it is there."""
        torch.set_num_threads(run.config.num_threads)
        folder = self._out / RUNS / f"{run.name}.{run.config_hash}"
        with locked(folder / ".lock"):
            if row_path(self._out, run).is_file():
                return
            opened = self._open(run.config)
            self._cut_problems(run, opened)  # what cannot be measured is not trained
            self._put_tokenizer(folder, run.config, opened.training)
            config = self._configured(run, folder, opened)
            train(config, opened.representation, training=opened.training, heldout=opened.heldout)
            write_rows(row_path(self._out, run), [self._row(run, config, opened)])
        if not self._keep_models:
            for name in (STEPS, MODEL):
                shutil.rmtree(folder / name, ignore_errors=True)

    def _open(self, config: PretrainConfig) -> Opened:
        key = (config.data, config.text, config.representation, str(config.heldout_share))
        if key not in self._opened:
            if len(self._opened) == MOST_OPEN:
                self._opened.pop(next(iter(self._opened)))
            representation = load_representation(Path(config.representation))
            corpora = load_corpora(replace(config, seed=SPLIT_SEED), representation)
            self._opened[key] = Opened(representation, *corpora)
        return self._opened[key]

    def _put_tokenizer(self, folder: Path, config: PretrainConfig, training: Corpus) -> None:
        """Give a run its vocabulary: learned once for all runs of a data set, since it is the same."""
        shared = self._out / RUNS / f"tokenizer.{training.identity}.{config.vocab_size}.json"
        if not shared.is_file():
            make_tokenizer(config, training).save(shared)
        if not (folder / "tokenizer.json").is_file():
            TextTokenizer.load(shared).save(folder / "tokenizer.json")

    def _configured(self, run: Run, folder: Path, opened: Opened) -> PretrainConfig:
        """Return the run's configuration with its number of steps; its own evaluation is small."""
        tokenizer = TextTokenizer.load(folder / "tokenizer.json")
        num_steps = steps_of(run.budget, run.config, opened, tokenizer)
        return replace(
            run.config,
            out=str(folder),
            num_steps=num_steps,
            num_heldout_batches=1,
            evaluate_every=num_steps,
            checkpoint_every=max(1, math.ceil(num_steps / NUM_CHECKPOINTS)),
            keep_checkpoints=1,
        )

    def _row(self, run: Run, config: PretrainConfig, opened: Opened) -> Row:
        started = time.perf_counter()
        model = load_model(Path(config.out) / MODEL)
        kinds = tuple(config.mixture.token_shares)
        documents = HeldOut.of(opened.heldout, config, run.measure, kinds=kinds, seed=SPLIT_SEED)
        measure = measure_losses(model, documents, opened.heldout, config, seed=SPLIT_SEED)
        if (problems := self._cut_problems(run, opened)) is not None:
            if Kind.forward in kinds:
                measure |= measure_actions(model, problems, run.measure, seed=SPLIT_SEED)
            if Kind.video in kinds:
                measure |= measure_next_frame(model, problems, run.measure, seed=SPLIT_SEED)
        record, parameters = read_record(Path(config.out) / MODEL), count_parameters(model.transfusion)
        return Row(
            table=run.table,
            arm=run.arm,
            seed=run.seed,
            config_hash=run.config_hash,
            data=opened.training.identity,
            heldout=opened.heldout.identity,
            representation=opened.representation.fingerprint,
            commit=current_commit(),
            versions=versions_text(installed_versions()),
            hardware=hardware(),
            num_steps=record.num_steps,
            parameters_total=parameters.total,
            parameters_active_text=parameters.active_text,
            parameters_active_image=parameters.active_image,
            latents_per_frame=opened.representation.num_tokens,
            latent_channels=opened.representation.num_channels,
            training_s=record.training_s,
            measuring_s=round(time.perf_counter() - started, 1),
            tokens=record.tokens,
            measure=measure,
        )

    def _cut_problems(self, run: Run, opened: Opened) -> Problems | None:
        """Return the problems of a run that learns to imagine, which all that are measured alike share."""
        if not {Kind.forward, Kind.video} & set(run.config.mixture.token_shares):
            return None
        key = f"{opened.heldout.recordings} {run.measure}"
        if key not in self._problems:
            self._problems[key] = cut_problems(opened.heldout.trajectories, run.measure, seed=SPLIT_SEED)
        return self._problems[key]


def steps_of(budget: Budget, config: PretrainConfig, opened: Opened, tokenizer: TextTokenizer) -> int:
    """Return how many steps a budget is: of tokens, by those that the run's first batches hold."""
    if budget.num_steps is not None:
        return budget.num_steps
    assert budget.num_tokens is not None
    frame = opened.representation.num_tokens
    batches = make_batches(config, opened.training, tokenizer, latents_per_frame=frame, role="training")
    for _ in range(NUM_COUNTED):
        next(batches)
    per_step = sum(batches.num_tokens.values()) / NUM_COUNTED
    return max(1, round(budget.num_tokens / per_step))
