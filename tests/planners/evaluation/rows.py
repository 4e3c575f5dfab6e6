"""Rows with plausible values, for tests that care about a few of them."""

from planners.evaluation.records import ClosedLoopRow, OpenLoopRow, Provenance

PROVENANCE = Provenance(
    config_hash="c" * 64,
    checkpoint="nano",
    checkpoint_hash="d" * 64,
    seed=7,
    micro_batch=3,
    source_hash="e" * 64,
    versions='{"python": "3.11"}',
)


def open_loop_row(
    problem_id: str = "seen_levels/map01/0/5",
    *,
    split: str = "seen_levels",
    trajectory: str = "map01-0",
    method: str = "world_model",
    ate_m: float | None = 0.5,
    error: str | None = None,
) -> OpenLoopRow:
    """Return a row whose other errors follow from its ATE, at a spacing of 0.25 m."""
    return OpenLoopRow(
        provenance=PROVENANCE,
        problem_id=problem_id,
        split=split,
        level="map01",
        trajectory=trajectory,
        frame=5,
        method=method,
        error=error,
        ate_m=ate_m,
        rpe_m=None if ate_m is None else ate_m / 5,
        ate_spacing=None if ate_m is None else ate_m * 4,
        rpe_spacing=None if ate_m is None else ate_m * 4 / 5,
        final_position_m=None if ate_m is None else ate_m * 2,
        final_yaw_rad=None if ate_m is None else 0.25,
        cost=0.125,
        iteration_costs=(0.25, 0.125),
        plan=("action: dx=+0.250, dy=+0.000, dyaw=+0.000, dt=0.26",) * 8,
        start_pose=(1.0, 2.0, 0.5),
        true_poses=tuple((0.25 * step, 0.0, 0.0) for step in range(1, 9)),
        goal_s=2.0,
        spacing_m=0.25,
        seconds=1.5,
        evidence=None,
    )


def closed_loop_row(
    episode_id: str = "map01-0",
    *,
    split: str = "seen_levels",
    agent: str = "world_model",
    success: float | None = 0.0,
    error: str | None = None,
) -> ClosedLoopRow:
    """Return a row of a two-step episode."""
    return ClosedLoopRow(
        provenance=PROVENANCE,
        episode_id=episode_id,
        split=split,
        level="map01",
        agent=agent,
        error=error,
        success=success,
        reached=success,
        spl=success,
        final_distance_m=2.5,
        collisions=1.0,
        seconds_per_decision=0.25,
        geodesic_m=3.0,
        num_steps=2,
        start_pose=(0.0, 0.0, 0.0),
        goal_pose=(3.0, 0.0, 0.0),
        poses=((0.0, 0.0, 0.0), (0.25, 0.0, 0.0), (0.5, 0.0, 0.25)),
        actions=("action: dx=+0.250, dy=+0.000, dyaw=+0.000, dt=0.26",) * 2,
        evidence=None,
    )
