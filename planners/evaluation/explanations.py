"""Explanations: what each row and each number of the report means, and how it was made."""

import math
from collections.abc import Mapping

from planners.evaluation.metrics import Interval

METHODS: Mapping[str, str] = {
    "world_model": "CEM on the world model: candidates are written as text, the model imagines where each "
    "leads, and the cost compares that with the goal frame. To that, `inverse_weight` times the nats of "
    "the text after context and goal are added: the same model, read as inverse dynamics. It sees frames "
    "only.",
    "stand_still": "No motion at all.",
    "prior_mean": "The mean of the prior that all candidates are drawn from, fitted on training "
    "trajectories only; given the robot's last step, where the prior is.",
    "straight_ahead": "The prior's mean step length, straight ahead.",
    "constant_velocity": "Goes on as the robot last moved, by its odometry.",
    "random_candidate": "One draw from the prior.",
    "oracle_cost": "Oracle. Of the very candidates that the planner considered, the one that ends nearest "
    "to the true final pose: what the candidates would allow if the cost were perfect.",
    "oracle_simulator": "Oracle. The same CEM with the same budget and random numbers, but each candidate is "
    "driven in the true simulator, walls included, instead of being imagined, and costs what "
    "`simulator_cost` makes of its last frame.",
}

AGENTS: Mapping[str, str] = {
    "world_model": "Plans anew with CEM on the world model, drives the first steps of the plan, and looks "
    "again.",
    "random": "Drives random candidates of the prior; in each step it may stop, after the mean distance of a "
    "goal on average.",
    "straight_ahead": "Drives straight ahead at the prior's speed, and stops after the mean distance of a "
    "goal.",
    "shortest_path": "Oracle. Follows the shortest path of the level's geometry and stops at the goal.",
}

METRICS: Mapping[str, str] = {
    "ate_m": "ATE: root mean square distance between the planned and the true position over the poses after "
    "the start, not aligned, not scaled (evo, as Navigation World Models does) [m].",
    "rpe_m": "RPE: the same over the position changes from one pose to the next [m].",
    "ate_spacing": "ATE divided by the spacing: the mean step length of the training trajectories.",
    "rpe_spacing": "RPE divided by the spacing.",
    "final_position_m": "Distance of the planned from the true final position [m].",
    "final_yaw_rad": "Angle between the planned and the true final heading [rad].",
    "gap_closed": "(best method that is no oracle - planner) / (best method that is no oracle - planner on "
    "the true simulator with equal budget), in ATE: 0 is the best baseline, 1 the same search on the truth, "
    "below 0 worse than the baseline. Where that search is hardly better than the baseline, the interval is "
    "wide.",
    "success": "Share of episodes in which the agent stopped within 1 m of the goal, measured along "
    "walkable ground.",
    "reached": "Share of episodes in which the agent was ever within 1 m of the goal, stopped or not.",
    "spl": "Success weighted by shortest path over path driven (0 where there was no success).",
    "final_distance_m": "Walkable distance to the goal at the end [m], over the episodes in which every "
    "agent still had a way to it.",
    "collisions": "Steps in which a wall cut the motion short.",
    "seconds_per_decision": "Wall time that the agent thought, a decision, on one thread [s]; a planning "
    "agent decides when it plans.",
}

COLUMNS: Mapping[str, tuple[str, str]] = {
    "ate_m": ("ATE", "m"),
    "rpe_m": ("RPE", "m"),
    "ate_spacing": ("ATE", "spacing"),
    "rpe_spacing": ("RPE", "spacing"),
    "final_position_m": ("Final position", "m"),
    "final_yaw_rad": ("Final yaw", "rad"),
    "success": ("Success", "share"),
    "reached": ("Reached", "share"),
    "spl": ("SPL", "0 to 1"),
    "final_distance_m": ("Final distance", "m"),
    "collisions": ("Collisions", "steps"),
    "seconds_per_decision": ("Thinking", "s a decision"),
}

SPLITS: Mapping[str, str] = {
    "seen_levels": "Levels of the training data; recordings and episodes that nothing was trained on.",
    "unseen_levels": "Levels that no training frame came from.",
    "zero_shot": "A data set of whose places the model has seen nothing; prior, bounds and spacing are those "
    "of its training trajectories.",
    "held_out": "Trajectories that were held out, of places that the model was trained on.",
    "no_model": "A data set, without a model.",
}

RECORDED_PROBLEMS = (
    "The trajectories are those of a data set that training and the prior did not have. Problems start at "
    "windows chosen by Navigation World Models' rule, or at those of an index that was given; the goal is "
    "the frame exactly {horizon} later. There is no simulator: the videos show the recording beside what the "
    "model imagined."
)
"""In place of `PROTOCOL["Problems"]`, where problems are cut from a data set."""

PROTOCOL: Mapping[str, str] = {
    "Problems": "Each trajectory was recorded in the simulator just before, from fixed seeds that training "
    "never uses. A problem starts at a random frame of it; its goal is the frame exactly {horizon} "
    "later, as in Navigation World Models. Nothing is filtered.",
    "Planned path": "The errors of every method, oracles included, are taken on the path that its action "
    "text describes when nothing is in the way, as Navigation World Models computes them; the videos show "
    "what happens when the text is driven.",
    "Intervals": "Shares of episodes have 95% Wilson intervals, other means 95% bootstrap intervals: whole "
    "trajectories (open loop) or episodes (closed loop) are drawn with replacement, {num_resamples} times; "
    "gap closed is paired, and finds its best baseline anew each time.",
    "Failures": "A problem on which a method raised an error stays in the Parquet file with that error, is "
    "counted here, and enters no mean, so that all methods of a table share the same problems.",
}


def percent(share: float) -> str:
    """Return a share in words: NaN is undefined, infinity unbounded."""
    if math.isnan(share):
        return "undefined"
    return f"{100 * share:.0f}%" if math.isfinite(share) else "unbounded"


def with_bounds(share: Interval) -> str:
    """Return a share and its interval in words."""
    return f"{percent(share.mean)} (95%: {percent(share.low)} to {percent(share.high)})"
