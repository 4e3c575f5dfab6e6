"""Pretraining: `python -m worldmodel.pretrain data=FOLDER text=FOLDER representation=FOLDER out=FOLDER`.

Killed at any moment it goes on from its last checkpoint; on a CPU the resumed run equals an unbroken one bit
for bit. Under `torchrun` several processes share the work (ranks.py). `out` then holds `model/` (what
`load_model` loads: the moving average of the weights), `steps/` (training states), `log.jsonl` and
`config.json`.
"""

import json
import time
from dataclasses import asdict
from pathlib import Path

import hydra
import torch
from omegaconf import DictConfig

from data_tools.config import store, to_dict, to_object
from data_tools.provenance import current_commit, installed_versions
from data_tools.randomness import generator_for
from data_tools.whole_file import write_text
from worldmodel.batches import Batches
from worldmodel.corpus import Corpus, load_corpora, make_batches, make_tokenizer
from worldmodel.heldout import heldout_losses
from worldmodel.model_folder import load_model, resolve, save_model
from worldmodel.precision import Device
from worldmodel.predictor import WorldModel
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.progress import step_progress
from worldmodel.ranks import Ranks, joined
from worldmodel.representation.interface import Representation, sizes_of
from worldmodel.representation.open import load_representation
from worldmodel.sharding import Sharding, forget_gathered, is_sharded
from worldmodel.sizes import (
    BFLOAT16_BYTES,
    FLOAT32_BYTES,
    activation_bytes,
    check_fits,
    gathered_bytes,
    logit_bytes,
    memory_bytes,
    num_parameters,
    on_meta,
    state_bytes,
)
from worldmodel.start import begin_with, shaped_as
from worldmodel.tokenizer import TextTokenizer
from worldmodel.trainer import Trainer, make_trainer, train_step
from worldmodel.training_log import TrainingLog
from worldmodel.training_record import make_record, read_record

LOG = "log.jsonl"
MODEL = "model"
STEPS = "steps"


def run(config: PretrainConfig, ranks: Ranks) -> None:
    """Load what the configuration names and train, or go on training, until `num_steps`."""
    torch.set_num_threads(config.num_threads)
    start = None if config.start is None else load_model(config.start)
    if start is None:
        representation = load_representation(config.representation)
    else:
        config, representation = shaped_as(config, start), start.representation
    _check(config, representation, ranks)
    with ranks.first_goes_ahead():
        training, heldout = load_corpora(config, representation)
    train(config, representation, training=training, heldout=heldout, ranks=ranks, start=start)


def _check(config: PretrainConfig, representation: Representation, ranks: Ranks) -> None:
    """Refuse a representation of another shape than was asked for, and a model without room."""
    given = (representation.num_tokens, representation.num_channels)
    wanted = (config.latents_per_frame or given[0], config.latent_channels or given[1])
    if given != wanted:
        raise ValueError(
            f"needed a representation of {wanted[0]} tokens of {wanted[1]} channels a frame, "
            f"{config.representation} gives {given[0]} of {given[1]}; name another, or set latents_per_frame "
            "and latent_channels to null"
        )
    model = on_meta(config.model, vocab_size=config.vocab_size, **sizes_of(representation))
    ranks.shares(config.num_rows, at_once=None)  # before anything is read: each rank needs a row
    rows = min(config.rows_at_once or config.num_rows, -(-config.num_rows // ranks.count))
    activations = activation_bytes(
        config.model, num_tokens=rows * config.tokens_per_row, recompute=config.recompute
    )
    activations += logit_bytes(num_tokens=rows * config.tokens_per_row, vocab_size=config.vocab_size)
    device = config.device.of_rank(ranks.local)
    state = state_bytes(model, config.optimisation)
    if config.sharding is Sharding.fsdp and ranks.count > 1:
        state = state // ranks.count + gathered_bytes(model)
        if not config.recompute and config.communication is not config.precision:
            # Weights that layers cast themselves are kept whole for the backward pass.
            state += BFLOAT16_BYTES * num_parameters(model)
        # Before it is shared out every process has drawn the whole model in main memory.
        drawn = ranks.count_here * FLOAT32_BYTES * num_parameters(model)
        check_fits(drawn, available_bytes=memory_bytes(torch.device("cpu")))
    sharing = ranks.count_here if config.device is Device.cpu else 1
    check_fits(sharing * (state + activations), available_bytes=memory_bytes(device))


def train(
    config: PretrainConfig,
    representation: Representation,
    *,
    training: Corpus,
    heldout: Corpus,
    ranks: Ranks | None = None,
    start: WorldModel | None = None,
) -> None:
    """Train until `num_steps`, from the last checkpoint if there is one; leave the model in `out/model`.

    Without a checkpoint it begins with `start`, a model of the configured shape, or with random weights.
    """
    ranks = ranks or Ranks()
    out = Path(config.out)
    with ranks.first_goes_ahead():
        tokenizer = _tokenizer_of_run(out, config, training) if start is None else start.tokenizer
    frame = representation.num_tokens
    batches = make_batches(config, training, tokenizer, latents_per_frame=frame, role="training")
    sizes = {"vocab_size": tokenizer.vocab_size, **sizes_of(representation)}
    trainer = make_trainer(config, batches, **sizes, ranks=ranks)
    trainer.vocabulary = tokenizer.identity
    if start is not None:
        begin_with(trainer, start)
    trainer.go_on(out / STEPS, num_steps=config.num_steps, ranks=ranks)
    log = None
    if ranks.is_first:
        _write_config(out, config)
        log = TrainingLog(out / LOG, step=trainer.step)

    def write_model() -> None:
        average = trainer.whole_average(ranks)
        if average is None or log is None:
            return
        record = make_record(
            training.trajectories,
            num_steps=trainer.step,
            tokens=trainer.batches.num_tokens,
            seed=config.seed,
            data=trainer.batches.data,
            log=log,
            start=None if config.start is None else resolve(config.start),
        )
        prediction = config.objective.flow.prediction
        save_model(out / MODEL, average, tokenizer, representation, prediction=prediction, record=record)

    with step_progress("pretraining", config.num_steps, start=trainer.step, shown=ranks.is_first) as advance:
        while trainer.step < config.num_steps:
            record = _timed_step(trainer, config, ranks)
            is_last = trainer.step == config.num_steps
            if trainer.step % config.evaluate_every == 0 or is_last:
                stream = make_batches(config, heldout, tokenizer, latents_per_frame=frame, role="heldout")
                record["heldout"] = _evaluate(trainer, stream, config, ranks)
            if log is not None:
                log.append(record)
            if trainer.step % config.checkpoint_every == 0 or is_last:
                trainer.save(out / STEPS, keep=config.keep_checkpoints, ranks=ranks)
                write_model()
            advance(f"flow {record['flow']:.3f}  language {record['language']:.2f}")
    # A run that was stopped after its last training state was written has only this left to do.
    if ranks.any(ranks.is_first and _step_of_model(out / MODEL) != trainer.step):
        write_model()


def _step_of_model(folder: Path) -> int | None:
    """Return after how many steps a model folder was written; None if there is no whole one."""
    try:
        return read_record(folder).num_steps
    except (FileNotFoundError, ValueError):
        return None


def _timed_step(trainer: Trainer, config: PretrainConfig, ranks: Ranks) -> dict[str, object]:
    """Make a step and return what the log says of it."""
    started = time.perf_counter()
    batch = trainer.next_batch()
    try:
        done = train_step(trainer, batch, config, ranks=ranks)
    except FloatingPointError:
        trainer.give_back()
        if trainer.step and trainer.is_finite(ranks):
            trainer.save(Path(config.out) / STEPS, keep=config.keep_checkpoints, ranks=ranks)
        raise
    seconds = time.perf_counter() - started
    return {
        "step": trainer.step,
        **asdict(done),
        "seconds": seconds,
        "tokens_per_s": batch.ids.numel() / seconds,
        "texts_skipped": trainer.batches.num_skipped,
    }


def _evaluate(trainer: Trainer, stream: Batches, config: PretrainConfig, ranks: Ranks) -> dict[str, float]:
    """Return held-out losses; of a model that is shared out all ranks compute them, of another the first."""
    if not (ranks.is_first or is_sharded(trainer.average)):
        return {}
    found = heldout_losses(
        trainer.average,
        (next(stream) for _ in range(config.num_heldout_batches)),
        config.objective,
        generator=generator_for(config.seed, "heldout/noise"),
        dtype=config.precision.dtype,
        rows_at_once=config.rows_at_once,
    )
    forget_gathered(trainer.average)
    return found


def _tokenizer_of_run(out: Path, config: PretrainConfig, corpus: Corpus) -> TextTokenizer:
    """Return the vocabulary that the run began with, or learn it."""
    path = out / "tokenizer.json"
    if path.is_file():
        return TextTokenizer.load(path)
    tokenizer = make_tokenizer(config, corpus)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(path)
    return tokenizer


def _write_config(out: Path, config: PretrainConfig) -> None:
    content = {
        "config": to_dict(config),
        "commit": current_commit(),
        "versions": installed_versions(),
    }
    write_text(out / "config.json", json.dumps(content, indent=1))


store("pretrain_schema", PretrainConfig)


@hydra.main(config_path="conf", config_name="pretrain", version_base=None)
def main(node: DictConfig) -> None:
    """Run the configured pretraining."""
    config = to_object(node, PretrainConfig)
    with joined(timeout_s=config.ranks_timeout_s) as ranks:
        run(config, ranks)


if __name__ == "__main__":
    main()
