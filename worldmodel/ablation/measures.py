"""Measures: what a trained arm is held to, on documents that all arms and seeds of a table share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from data_tools.builders import make_builders
from data_tools.documents import Document, Kind, texts_of
from data_tools.randomness import generator_for, numpy_generator_for
from worldmodel.corpus import Corpus
from worldmodel.documents import PackedBatch, Packer
from worldmodel.flow import FlowConfig, Prediction
from worldmodel.heldout import heldout_losses
from worldmodel.objective import ObjectiveConfig, losses
from worldmodel.predictor import WorldModel
from worldmodel.pretrain_config import PretrainConfig

OF_TEXT = frozenset({Kind.text, Kind.caption, Kind.question})
"""Kinds of short documents."""
NUM_ROWS = 2
"""Of a batch that is measured: each kind has batches of its own, and the last one is padded."""


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """How much is measured; it takes some seconds a run."""

    num_texts: int = 64
    """Documents of text, captions and questions, each."""
    num_documents: int = 16
    """Documents of all other kinds, each."""
    num_problems: int = 64
    """Held-out contexts after which frames are imagined."""
    horizons: list[int] = field(default_factory=lambda: [4, 8])
    """Frames ahead at which they are imagined."""
    num_steps: int = 8
    """Steps of the sampler, beside drafts of one step."""
    image_size: int = 64
    """Height and width at which pictures of all representations are compared [pixels]."""
    num_context: int = 4
    """Frames of context."""

    def __post_init__(self) -> None:
        if self.num_problems < 2 or not self.horizons:
            raise ValueError(
                "needed num_problems of at least 2, as actions of one are tried in another, and horizons, at "
                f"least one; got {self.num_problems} and {self.horizons}"
            )
        sizes = {
            "num_texts": self.num_texts,
            "num_documents": self.num_documents,
            "horizons": min(self.horizons),
            "num_steps": self.num_steps,
            "image_size": self.image_size,
            "num_context": self.num_context,
        }
        if small := {name: size for name, size in sizes.items() if size < 1}:
            raise ValueError(f"needed sizes of at least 1, got {small}")


@dataclass(frozen=True)
class HeldOut:
    """Held-out documents by kind."""

    documents: Mapping[Kind, Sequence[Document]]

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        config: PretrainConfig,
        measure: MeasureConfig,
        *,
        kinds: Sequence[Kind],
        seed: int,
    ) -> "HeldOut":
        """Draw documents: a kind's are functions of the corpus, the shape of documents and the seed alone."""
        shape = replace(config.documents, condition_dropout=0.0)
        builders = make_builders(corpus.trajectories, corpus.texts, shape, kinds=kinds)
        return cls(
            {
                kind: [
                    builder.build(rng=numpy_generator_for(seed, f"ablation/{kind.value}", rank=number))
                    for number in range(measure.num_texts if kind in OF_TEXT else measure.num_documents)
                ]
                for kind, builder in builders.items()
            }
        )


def pack_all(documents: Sequence[Document], packer: Packer, *, rng: np.random.Generator) -> list[PackedBatch]:
    """Pack documents in order into as many batches as they need; texts longer than a row are left out."""
    batches, rows, is_empty = [], packer.empty(), True
    for document in documents:
        length = packer.length(document)
        if document.kind is Kind.text and length > packer.tokens_per_row:
            continue
        if not rows.place(document, length):
            batches.append(packer.pack(rows, rng=rng))
            rows = packer.empty()
            rows.place(document, length)  # has room: what is longer than a row was refused
        is_empty = False
    return batches if is_empty else [*batches, packer.pack(rows, rng=rng)]


def measure_losses(
    model: WorldModel, heldout: HeldOut, corpus: Corpus, config: PretrainConfig, *, seed: int
) -> dict[str, float]:
    """Return losses on held-out documents with clean contexts, by name.

    `nats/<kind>` and `flow/...` are those of `worldmodel.heldout`, the flow's errors always those of clean
    latents, whatever space an arm was trained in; `flow/all/video` is the error over all frames of videos.
    `bits_per_byte` is the information of the text documents [bits], each's end included, over their bytes.
    """
    objective = as_measured(config.objective)
    packer = Packer(
        model.tokenizer,
        corpus.latents,
        objective.flow,
        num_rows=NUM_ROWS,
        tokens_per_row=config.tokens_per_row,
        latents_per_frame=model.representation.num_tokens,
    )
    report: dict[str, float] = {}
    for kind, documents in heldout.documents.items():
        batches = pack_all(documents, packer, rng=numpy_generator_for(seed, f"ablation/times/{kind.value}"))
        if kind is Kind.video:
            report["flow/all/video"] = _all_frames(
                model, batches, objective, config.precision.dtype, seed=seed
            )
            continue
        found = heldout_losses(
            model.transfusion,
            batches,
            objective,
            generator=generator_for(seed, f"ablation/noise/{kind.value}"),
            dtype=config.precision.dtype,
        )
        report |= {name: value for name, value in found.items() if name.endswith(f"/{kind.value}")}
        if kind is Kind.text:
            num_targets = sum(len(batch.text_target) for batch in batches)
            report["bits_per_byte"] = (
                report["nats/text"] * num_targets / math.log(2) / _num_bytes(documents, packer)
            )
    return report


def as_measured(objective: ObjectiveConfig) -> ObjectiveConfig:
    """Return an objective with clean contexts and errors of clean latents: arms differ in neither then."""
    flow: FlowConfig = replace(objective.flow, clean_context_share=1.0, loss_space=Prediction.latent)
    return replace(objective, flow=flow)


@torch.no_grad()
def _all_frames(
    model: WorldModel,
    batches: Sequence[PackedBatch],
    objective: ObjectiveConfig,
    dtype: torch.dtype,
    *,
    seed: int,
) -> float:
    generator = generator_for(seed, "ablation/noise/video")
    errors: list[Tensor] = []
    for batch in batches:
        noise = torch.randn(batch.generated.shape, generator=generator)
        errors.append(losses(model.transfusion, batch, noise, objective, dtype=dtype).flow_errors)
    return torch.cat(errors).mean().item()


def _num_bytes(documents: Sequence[Document], packer: Packer) -> int:
    """Count the bytes of the texts that `pack_all` packs."""
    packed = [document for document in documents if packer.length(document) <= packer.tokens_per_row]
    return sum(len(text.text.encode()) for document in packed for text in texts_of(document))
