import math
from pathlib import Path

import pytest
import torch
from torch import nn

from worldmodel.representation.masters import MasterWeights
from worldmodel.representation.stage import BETAS, StageConfig, run_stage


def run(
    folder: Path, num_steps: int, *, stop_at: int | None = None, name: str = "stage", **changes: object
) -> tuple[nn.Module, list[float]]:
    """Fit a linear map to a random one; optionally break off before a step, as a signal would."""
    model = nn.Linear(3, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    masters = MasterWeights(model, dtype=torch.bfloat16, weight_decay=0.1, betas=BETAS)

    def draw_loss(generator: torch.Generator) -> torch.Tensor:
        if masters.step_count == stop_at:
            raise KeyboardInterrupt
        given = torch.randn(5, 3, generator=generator).bfloat16()
        return (model(given).float() - given.float()[:, :2]).square().mean()

    # A period of 0 writes a checkpoint after every step.
    settings = dict(num_steps=num_steps, batch_size=5, learning_rate=0.1, checkpoint_period_s=0.0)
    made_of = (changes.pop("seed", 0),)
    config = StageConfig(**(settings | changes))  # pyright: ignore[reportArgumentType]
    losses = run_stage(
        name,
        config,
        masters,
        draw_loss,
        checkpoint=folder / "stage.safetensors",
        generator=torch.Generator().manual_seed(0),
        made_of=made_of,
    )
    return model, losses


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path):
    unbroken, losses = run(tmp_path / "unbroken", 12)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", 12, stop_at=7)
    resumed, resumed_losses = run(tmp_path / "broken", 12)
    assert resumed_losses == losses and len(losses) == 12
    for one, other in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_complete_stage_is_not_run_again(tmp_path):
    _, losses = run(tmp_path, 5)
    assert run(tmp_path, 5, stop_at=5)[1] == losses


def test_it_learns(tmp_path):
    losses = run(tmp_path, 60)[1]
    assert sum(losses[-5:]) < 0.2 * sum(losses[:5])


def test_a_checkpoint_of_another_stage_or_length_is_refused(tmp_path):
    run(tmp_path, 3)
    with pytest.raises(ValueError, match="of stage 'stage' after 3 steps"):
        run(tmp_path, 3, name="other")
    with pytest.raises(ValueError, match="with at most 2"):
        run(tmp_path, 2)


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"learning_rate": 0.2}, {"weight_decay": 0.0}, {"warmup_share": 0.1}]
)
@pytest.mark.parametrize("stop_at", [None, 2])
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, changes, stop_at):
    if stop_at is None:
        run(tmp_path, 3)
    else:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, 3, stop_at=stop_at)
    with pytest.raises(ValueError, match=r"other settings, seed, data or encoder.*Give another output"):
        run(tmp_path, 3, **changes)
    run(tmp_path, 3, checkpoint_period_s=60.0)


def test_updates_below_the_resolution_of_bfloat16_add_up():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    masters = MasterWeights(model, dtype=torch.bfloat16, weight_decay=0.0, betas=BETAS)
    for _ in range(40):  # AdamW moves by the learning rate under a constant gradient
        masters.step(model.weight.float().sum(), learning_rate=1e-3, max_norm=10.0)
    assert model.weight.dtype == torch.bfloat16
    assert float(model.weight.detach()) == pytest.approx(0.96, abs=0.004)


def test_gradients_are_cut_to_the_norm():
    model = nn.Linear(2, 1, bias=False)
    masters = MasterWeights(model, dtype=torch.float32, weight_decay=0.0, betas=BETAS)
    norm = masters.step((model.weight * torch.tensor([[3.0, 4.0]])).sum(), learning_rate=0.0, max_norm=1.0)
    assert float(norm) == pytest.approx(5.0)


def test_learning_rate_rises_then_falls_to_zero():
    config = StageConfig(num_steps=100, learning_rate=2.0, warmup_share=0.1)
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert rates[4] == pytest.approx(1.0) and max(rates) == pytest.approx(2.0, rel=1e-3)
    assert rates[54] == pytest.approx(1 + math.cos(math.pi * 0.5)) and rates[99] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"num_steps": 0}, "at least 1"), ({"num_steps": 3, "warmup_share": 1.0}, "warmup_share")],
)
def test_impossible_stages_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        StageConfig(**change)
