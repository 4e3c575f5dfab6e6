"""What an open-loop evaluation is configured with: levels of the embedded simulator, or a data set."""

from dataclasses import dataclass, field

from envs.level_recorder import RecordConfig
from envs.levels import TEST_LEVELS, TRAIN_LEVELS, check_level
from planners.evaluation.answers import PlanCost, SearchConfig
from planners.evaluation.problems import ProblemShape
from planners.evaluation.recorded import RecordedConfig
from planners.evaluation.splits import check_evaluation
from planners.prior import PriorConfig


@dataclass(frozen=True, kw_only=True)
class OpenLoopConfig:
    """What is evaluated; a split's rows are a function of all but `out`, `workers` and `num_problems`.

    Attributes:
        out: Folder of the results.
        checkpoint: A shipped model's name or a folder; null leaves the model out.
        seed: Of the held-out recordings; not that of any training data, of the prior or of the calibration.
        num_shown: Problems a split that the report shows.
        workers: Ray workers; 0 computes in this process.
        seen_levels: Levels of the model's training data.
        unseen_levels: Levels that no training frame came from.
        prior: What the prior is fitted on.
        representation: Folder of a visual representation; `search.simulator_cost=latent` needs it where there
            is no checkpoint.
        data: Folder of trajectories to evaluate on instead of levels; the levels, `prior` and `record` then
            say nothing.
        recorded: Which of its trajectories are for what, and which problems are cut.
        num_problems: Problems a split, rounded up to whole shards; of a data set, of each goal distance.
        trajectories_per_shard: Trajectories of a shard; each gives `problem.num_problems`.
        trajectory_frames: Frames of each held-out trajectory.
        problem: What is cut from a trajectory.
        search: Budget and costs.
        record: How the robot drives in held-out and prior trajectories.
    """

    out: str = "outputs/open_loop"
    checkpoint: str | None = "nano"
    representation: str | None = None
    seed: int = 2_000_003
    data: str | None = None
    recorded: RecordedConfig = field(default_factory=RecordedConfig)
    num_problems: int = 30
    trajectories_per_shard: int = 3
    num_shown: int = 2
    workers: int = 2
    seen_levels: list[str] = field(default_factory=lambda: list(TRAIN_LEVELS[::4]))
    unseen_levels: list[str] = field(default_factory=lambda: list(TEST_LEVELS))
    trajectory_frames: int = 40
    problem: ProblemShape = field(default_factory=ProblemShape)
    search: SearchConfig = field(default_factory=SearchConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    record: RecordConfig = field(default_factory=RecordConfig)

    def __post_init__(self) -> None:
        """Refuse levels and numbers that give no problems, before anything is recorded."""
        check_evaluation(self)
        for level in (*self.seen_levels, *self.unseen_levels):
            check_level(level)
        if min(self.num_problems, self.trajectories_per_shard) < 1:
            raise ValueError(
                "num_problems and trajectories_per_shard must be at least 1; got "
                f"{self.num_problems} and {self.trajectories_per_shard}"
            )
        if self.trajectory_frames < self.problem.least_frames:
            raise ValueError(
                f"trajectory_frames must be at least {self.problem.least_frames} for these problems; "
                f"got {self.trajectory_frames}"
            )
        if (
            self.search.simulator_cost is PlanCost.latent
            and self.checkpoint is None
            and self.representation is None
        ):
            raise ValueError("search.simulator_cost=latent needs checkpoint=NAME or representation=FOLDER")

    @property
    def num_shards(self) -> int:
        """Shards of a split."""
        return -(-self.num_problems // (self.trajectories_per_shard * self.problem.num_problems))
