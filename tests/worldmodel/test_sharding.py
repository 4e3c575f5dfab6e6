"""Laws of runs on several ranks: the losses of one rank, whoever holds the state and whoever wrote it."""

import json
from dataclasses import astuple, replace
from pathlib import Path

import pytest
import torch

from tests.worldmodel.processes import run_ranks, start_ranks
from tests.worldmodel.tiny_run import make_config, make_corpus
from worldmodel.checkpoint import step_folder, write_folder
from worldmodel.corpus import make_batches, make_tokenizer
from worldmodel.feedforward import ExpertsConfig, FeedForwardKind
from worldmodel.heldout import heldout_losses
from worldmodel.objective import ObjectiveConfig, Weighing
from worldmodel.optimisation import MatrixOptimiser, OptimisationConfig
from worldmodel.pieces import Piece, Place
from worldmodel.precision import Device, Precision
from worldmodel.pretrain_config import CompileUnit, PretrainConfig
from worldmodel.ranks import Ranks
from worldmodel.router import Balancing
from worldmodel.sharding import Sharding, forget_gathered
from worldmodel.stored_tensors import StoredTensors, write_shard
from worldmodel.trainer import Trainer, make_trainer, train_step
from worldmodel.transfusion import TransfusionConfig

SIZES = dict(width=32, num_blocks=2, num_heads=2, num_kv_heads=1, text_hidden=20, image_hidden=28)
EXPERTS = TransfusionConfig(
    **SIZES,  # pyright: ignore[reportArgumentType]
    feedforward=FeedForwardKind.experts,
    # Three experts lie on two ranks, or one on each of three.
    experts=ExpertsConfig(num_experts=3, top_k=2, expert_hidden=24, shared_hidden=16, balance_weight=0.5),
)
BIASED = replace(EXPERTS, experts=replace(EXPERTS.experts, balancing=Balancing.bias, bias_rate=0.02))
ADAMW = OptimisationConfig(matrices=MatrixOptimiser.adamw, learning_rate=5e-3, warmup_steps=2)
SETTINGS: dict[str, dict[str, object]] = {
    "dense": {},
    "experts": {"model": EXPERTS, "optimisation": ADAMW, "recompute": True},
    "biased": {"model": BIASED, "optimisation": replace(ADAMW, expert_matrices=MatrixOptimiser.muon)},
    "parts": {"optimisation": ADAMW, "rows_at_once": 1},
    "centred": {"rows_at_once": 2, "objective": ObjectiveConfig(weighing=Weighing.centred)},
    "replicated": {"sharding": Sharding.replicated, "rows_at_once": 1},
}
NUM_STEPS = 3


def config_of(folder: Path, name: str) -> PretrainConfig:
    changes = {"num_rows": 5, "sharding": Sharding.fsdp} | SETTINGS[name]
    return make_config(folder, **changes)


def trainer_of(config: PretrainConfig, ranks: Ranks | None = None) -> Trainer:
    corpus = make_corpus(0)
    tokenizer = make_tokenizer(config, corpus)
    batches = make_batches(config, corpus, tokenizer, latents_per_frame=4, role="training")
    return make_trainer(config, batches, vocab_size=tokenizer.vocab_size, latent_channels=64, ranks=ranks)


def report(trainer: Trainer, config: PretrainConfig, ranks: Ranks, *, num_steps: int) -> list[list[float]]:
    return [
        list(astuple(train_step(trainer, trainer.next_batch(), config, ranks=ranks)))
        for _ in range(num_steps)
    ]


def write(folder: Path, name: str, content: object, ranks: Ranks) -> None:
    if ranks.is_first:
        (folder / f"{name}.json").write_text(json.dumps(content))


def train_all(ranks: Ranks, folder: Path) -> None:
    """Train each setting; keep the state before the last step, and the model that would be saved."""
    for name in SETTINGS:
        config = config_of(folder, name)
        trainer = trainer_of(config, ranks)
        losses = report(trainer, config, ranks, num_steps=NUM_STEPS - 1)
        trainer.save(folder / name, keep=1, ranks=ranks)
        losses += report(trainer, config, ranks, num_steps=1)
        write(folder, name, losses, ranks)
        average = trainer.whole_average(ranks)
        assert (average is None) == (not ranks.is_first)
        if average is not None:
            weights = {key: value.bfloat16() for key, value in average.state_dict().items()}
            write_folder(folder / f"{name}-average", {"model": weights}, {})


def go_on_from_others(ranks: Ranks, folder: Path) -> None:
    """Make the last step from each state that other numbers of ranks have left."""
    for state in sorted((folder / "states").iterdir()):
        config = config_of(folder, "experts")
        trainer = trainer_of(config, ranks)
        trainer.restore(state)
        write(folder, f"{state.name}-by-{ranks.count}", report(trainer, config, ranks, num_steps=1), ranks)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    train_all(Ranks(), folder)
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    run_ranks(train_all, folder, count=2)
    return folder


def read(folder: Path, name: str) -> list[list[float]]:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("name", SETTINGS)
def test_two_ranks_have_the_losses_and_gradient_norms_of_one(alone, together, name):
    found, expected = read(together, name), read(alone, name)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    # Muon makes its updates orthogonal in bfloat16: rounding grows from step to step; AdamW's does not.
    is_adamw = "optimisation" in SETTINGS[name] and name != "biased"
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4 if is_adamw else 2e-3)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_model_that_two_ranks_leave_is_that_of_one(alone, together, name):
    found, expected = (
        StoredTensors(folder / f"{name}-average", "model").read_whole() for folder in (together, alone)
    )
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert tensor.dtype == found[key].dtype == torch.bfloat16
        torch.testing.assert_close(found[key].float(), tensor.float(), atol=4e-3, rtol=2e-2)


def test_each_rank_writes_its_rows_and_no_more(together):
    folder = step_folder(together / "experts", NUM_STEPS - 1)
    names = {path.name for path in folder.iterdir()}
    assert {
        "model-00001-of-00002.safetensors",
        "optimisers-00002-of-00002.safetensors",
        "state.json",
    } <= names
    assert all(name.endswith((".safetensors", ".json")) for name in names)
    first, second = ((folder / f"model-0000{rank}-of-00002.safetensors").stat().st_size for rank in (1, 2))
    assert 0.3 < second / first < 1
    assert not (step_folder(together / "replicated", 2) / "model-00001-of-00002.safetensors").exists()


def in_shards(state: Path, folder: Path, *, count: int) -> None:
    """Write a state anew as `count` ranks would."""
    folder.mkdir(parents=True)
    (folder / "state.json").write_bytes((state / "state.json").read_bytes())
    for group in ("model", "average", "optimisers", "random", "objective"):
        whole = StoredTensors(state, group).read_whole()
        for rank in range(count):
            places = {
                name: Place.of_rank(tensor.shape, rank=rank, count=count)
                if tensor.dim() > 0 and group in ("model", "average", "optimisers")
                else Place.whole(tensor.shape)
                for name, tensor in whole.items()
            }
            pieces = {
                name: Piece(
                    place, whole[name] if place.is_whole else whole[name][place.start :][: place.num_rows]
                )
                for name, place in places.items()
            }
            write_shard(folder, group, pieces, rank=rank, count=count)


@pytest.fixture
def states(alone, together, tmp_path) -> Path:
    """Return a folder with states of one setting by one, two and three ranks."""
    (tmp_path / "states").mkdir()
    for name, folder in (("one", alone), ("two", together)):
        (tmp_path / "states" / name).symlink_to(step_folder(folder / "experts", NUM_STEPS - 1))
    in_shards(tmp_path / "states" / "one", tmp_path / "states" / "three", count=3)
    return tmp_path


def test_one_rank_goes_on_from_what_others_left(states, alone):
    go_on_from_others(Ranks(), states)
    for name in ("one", "two", "three"):
        exact = name != "two"
        expected = read(alone, "experts")[-1]
        found = read(states, f"{name}-by-1")[0]
        assert found == expected if exact else found == pytest.approx(expected, rel=1e-4)


def test_two_ranks_go_on_from_what_others_left(states, alone):
    run_ranks(go_on_from_others, states, count=2)
    for name in ("one", "two", "three"):
        assert read(states, f"{name}-by-2")[0] == pytest.approx(read(alone, "experts")[-1], rel=1e-4)


@pytest.mark.slow
def test_three_ranks_go_on_from_what_others_left(states, alone):
    run_ranks(go_on_from_others, states, count=3)
    for name in ("one", "two", "three"):
        assert read(states, f"{name}-by-3")[0] == pytest.approx(read(alone, "experts")[-1], rel=1e-4)


@pytest.mark.slow
def test_three_ranks_have_the_losses_of_one(alone, tmp_path):
    run_ranks(train_all, tmp_path, count=3)
    for name in ("experts", "parts"):
        for ours, theirs in zip(read(tmp_path, name), read(alone, name), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)


def narrow(ranks: Ranks, folder: Path) -> None:
    """Train with parameters sent in bfloat16; evaluate in between, as a run does."""
    config = replace(config_of(folder, "dense"), communication=Precision.bfloat16)
    trainer = trainer_of(config, ranks)
    losses = report(trainer, config, ranks, num_steps=1)
    before = trainer.average.state_dict()["text_embedding.weight"].to_local().clone()
    batch = trainer.next_batch()
    generator = torch.Generator().manual_seed(0)
    heldout_losses(trainer.average, [batch], config.objective, generator=generator, dtype=torch.float32)
    forget_gathered(trainer.average)
    losses += report(trainer, config, ranks, num_steps=1)
    after = trainer.average.state_dict()["text_embedding.weight"].to_local()
    assert not torch.equal(before, after)
    write(folder, "narrow", losses, ranks)


def test_parameters_sent_in_bfloat16_change_losses_little(tmp_path, alone):
    run_ranks(narrow, tmp_path, count=2)
    found, expected = read(tmp_path, "narrow")[0], read(alone, "dense")[0]
    assert found != pytest.approx(expected, rel=1e-6)
    assert found == pytest.approx(expected, rel=2e-2)


def test_a_model_compiled_whole_cannot_be_sharded(tmp_path):
    with pytest.raises(ValueError, match="works between blocks; set compile_unit=block"):
        make_config(tmp_path, sharding=Sharding.fsdp, compile=True)
    make_config(tmp_path, sharding=Sharding.fsdp, compile=True, compile_unit=CompileUnit.block)


def compiled(ranks: Ranks, folder: Path) -> None:
    """Train two steps with compiled blocks."""
    config = replace(config_of(folder, "dense"), compile=True, compile_unit=CompileUnit.block)
    trainer = trainer_of(config, ranks)
    write(folder, "compiled", report(trainer, config, ranks, num_steps=2), ranks)


@pytest.mark.slow
def test_compiled_blocks_of_two_ranks_have_the_losses_of_one(tmp_path, alone):
    run_ranks(compiled, tmp_path, count=2)
    for ours, theirs in zip(read(tmp_path, "compiled"), read(alone, "dense"), strict=False):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_experts_are_compiled_in_bfloat16_alone(tmp_path):
    with pytest.raises(ValueError, match="set precision=bfloat16 or compile=false"):
        replace(config_of(tmp_path, "experts"), compile=True, compile_unit=CompileUnit.block)


def go_on_alone(ranks: Ranks, folder: Path) -> None:
    """Let ranks find their states in folders of their own, of which one is empty."""
    config = config_of(folder, "replicated")
    trainer_of(config, ranks).go_on(folder / str(ranks.rank) / "steps", num_steps=9, ranks=ranks)


def test_ranks_that_find_different_states_are_refused(tmp_path):
    config = config_of(tmp_path, "replicated")
    trainer = trainer_of(config)
    report(trainer, config, Ranks(), num_steps=1)
    trainer.save(tmp_path / "0" / "steps", keep=1, ranks=Ranks())
    started = start_ranks(go_on_alone, tmp_path, count=2)
    for process in started:
        process.join(timeout=120)
    for rank, step in ((0, 1), (1, 0)):
        problem = (tmp_path / f"error-{rank}").read_text()
        assert f"rank {rank} of 2 found the state of step {step}" in problem
        assert "a folder that all machines share" in problem


@pytest.mark.gpu
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("name", ["dense", "experts", "biased", "parts", "centred"])
def test_steps_on_a_gpu_have_the_losses_of_the_cpu_and_states_move_between_them(tmp_path, name, compile):
    changes = {"sharding": Sharding.replicated, "rows_at_once": 1} if name == "parts" else {}
    config = replace(config_of(tmp_path, name), sharding=Sharding.replicated, **changes)
    on_gpu = replace(config, device=Device.cuda, compile=compile)
    trainer, other = trainer_of(config), trainer_of(on_gpu)
    expected = report(trainer, config, Ranks(), num_steps=2)
    for ours, theirs in zip(report(other, on_gpu, Ranks(), num_steps=2), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=5e-3)
    batch = other.next_batch()
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    found, wanted = (
        heldout_losses(each.average, [batch], config.objective, generator=generator, dtype=torch.float32)
        for each, generator in zip((other, trainer), generators, strict=True)
    )
    assert list(found.values()) == pytest.approx(list(wanted.values()), rel=2e-2)
    other.save(tmp_path / "steps", keep=1, ranks=Ranks())
    again = trainer_of(config)
    again.go_on(tmp_path / "steps", num_steps=9, ranks=Ranks())
    last = report(trainer, config, Ranks(), num_steps=1)[0]
    assert report(again, config, Ranks(), num_steps=1)[0] == pytest.approx(last, rel=2e-2)
