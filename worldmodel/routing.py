"""Routing: where a trained mixture of experts sends the tokens of held-out documents.

`python -m worldmodel.routing model=RUN data=FOLDER text=FOLDER out=FOLDER` leaves `routing.parquet` (a row
for each layer, group of tokens, bin of flow time and expert), `routing.json` (statistics) and `routing.png`.
`model` is a pretraining run, whose own split then says what was held out, or a model folder, for which
`seed` and `heldout_share` say it.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import hydra
import torch
from omegaconf import MISSING, DictConfig

from data_tools.config import store, to_object
from data_tools.document_config import DocumentConfig
from data_tools.mixture import MixtureConfig
from data_tools.randomness import generator_for
from data_tools.splits import split_by_trajectory
from data_tools.text_sources import Use, read_texts_of_use
from data_tools.whole_file import whole_file, write_text
from worldmodel.batches import Batches
from worldmodel.checkpoint import read_json
from worldmodel.corpus import Corpus, cache_latents, make_batches
from worldmodel.model_folder import load_model
from worldmodel.objective import ObjectiveConfig, flow_errors
from worldmodel.predictor import WorldModel
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.recordings import open_recordings
from worldmodel.representation.cache import CACHE
from worldmodel.routing_counts import GENERATION, TEXT, UNDERSTANDING, RoutingCounts, groups_of, recorded
from worldmodel.routing_plots import draw
from worldmodel.routing_statistics import RoutingStatistics, statistics_of


@dataclass(frozen=True, kw_only=True)
class RoutingConfig:
    """Whose routing, on which documents."""

    model: str = MISSING
    """Folder of a pretraining run, or of a model."""
    data: str = MISSING
    """Folder of trajectories."""
    text: str = MISSING
    """Folder of public text."""
    out: str = MISSING
    seed: int = 0
    heldout_share: float = 0.05
    num_batches: int = 8
    num_rows: int = 14
    tokens_per_row: int = 384
    num_threads: int = 2
    documents: DocumentConfig = field(default_factory=DocumentConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)

    def __post_init__(self) -> None:
        if self.num_batches < 1:
            raise ValueError(f"num_batches must be at least 1, got {self.num_batches}")


def run(config: RoutingConfig) -> RoutingStatistics:
    """Count, write the three files, and return the statistics."""
    torch.set_num_threads(config.num_threads)
    model, config = _open(config)
    top_k = model.transfusion.config.experts.top_k
    found = count_routing(model, _heldout_batches(config, model), config)
    statistics = statistics_of(found, top_k=top_k)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    write_table(found, out / "routing.parquet")
    draw(found, statistics, out / "routing.png")
    write_text(out / "routing.json", json.dumps(asdict(statistics), indent=1))
    return statistics


@torch.no_grad()
def count_routing(model: WorldModel, batches: Batches, config: RoutingConfig) -> RoutingCounts:
    """Run held-out batches through a model and add up where their tokens go."""
    noise = generator_for(config.seed, "routing/noise")
    total = None
    for _ in range(config.num_batches):
        batch = next(batches)
        drawn = torch.randn(batch.generated.shape, generator=noise)
        with recorded(model.transfusion, groups_of(batch)) as found:
            flow_errors(model.transfusion, batch, drawn, ObjectiveConfig(), dtype=model.dtype)
        total = found[0] if total is None else total + found[0]
    assert total is not None
    return total


def write_table(found: RoutingCounts, path: Path) -> None:
    """Write a row for each layer, group, bin and expert as Parquet."""
    import pyarrow as pa  # noqa: PLC0415 (training needs no Parquet)
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows = [
        {
            "layer": layer,
            "modality": "text" if group == TEXT else "image",
            "role": {TEXT: "text", UNDERSTANDING: "understanding"}.get(group, "generation"),
            "time_bin": group - GENERATION if group >= GENERATION else None,
            "expert": expert,
            "count": count,
        }
        for layer, groups in enumerate(found.counts.tolist())
        for group, experts in enumerate(groups)
        for expert, count in enumerate(experts)
    ]
    with whole_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)


def _open(config: RoutingConfig) -> tuple[WorldModel, RoutingConfig]:
    """Load the model, and take from its run, if it is there, what was held out."""
    folder = Path(config.model)
    if not (folder / "config.json").is_file():
        return load_model(config.model), config
    content = read_json(folder / "config.json").get("config")
    if not isinstance(content, dict) or not {"seed", "heldout_share"} <= content.keys():
        raise ValueError(f"{folder / 'config.json'} is not that of a pretraining run; give its model folder")
    folder = folder / "model"
    config = replace(config, model=str(folder), seed=content["seed"], heldout_share=content["heldout_share"])
    return load_model(folder), config


def _heldout_batches(config: RoutingConfig, model: WorldModel) -> Batches:
    split = split_by_trajectory(
        open_recordings([config.data]), seed=config.seed, held_out_fraction=config.heldout_share
    )
    texts = read_texts_of_use(Use.evaluation, Path(config.text))
    representation = model.representation
    latents, identity = cache_latents(representation, split.held_out, Path(config.data) / CACHE)
    corpus = Corpus(split.held_out, texts, latents, recordings=identity)
    settings = PretrainConfig(
        data=config.data,
        text=config.text,
        representation=config.model,
        out=config.out,
        seed=config.seed,
        num_rows=config.num_rows,
        tokens_per_row=config.tokens_per_row,
        documents=config.documents,
        mixture=config.mixture,
    )
    latents_per_frame = representation.num_tokens
    return make_batches(
        settings, corpus, model.tokenizer, latents_per_frame=latents_per_frame, role="heldout"
    )


store("routing_schema", RoutingConfig)


@hydra.main(version_base=None, config_path="conf", config_name="routing")
def main(node: DictConfig) -> None:
    """Write the routing of the configured model and print its statistics."""
    print(json.dumps(asdict(run(to_object(node, RoutingConfig))), indent=1))


if __name__ == "__main__":
    main()
