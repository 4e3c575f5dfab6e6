"""Rows that no run made."""

from worldmodel.ablation.rows import Row


def make_row(arm: str, seed: int, measure: dict[str, float], **changes: object) -> Row:
    """Return a row with made-up surroundings."""
    content = dict(
        table="made",
        arm=arm,
        seed=seed,
        config_hash=f"{arm}{seed}",
        data="data",
        heldout="heldout",
        representation="rae",
        commit=None,
        versions='{"torch": "2.11"}',
        hardware="2 x cores",
        num_steps=7,
        parameters_total=1500,
        parameters_active_text=1100,
        parameters_active_image=1300,
        latents_per_frame=16,
        latent_channels=5,
        training_s=11.5,
        measuring_s=2.5,
        tokens={"text": 300 + seed, "forward": 500},
        measure=measure,
    )
    return Row(**(content | changes))  # pyright: ignore[reportArgumentType]
