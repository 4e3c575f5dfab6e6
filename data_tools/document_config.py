"""DocumentConfig: the shape of documents of all kinds."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class DocumentConfig:
    """Shape of documents of all kinds."""

    max_context: int = 4
    """Most frames of context; their number is uniform from 1 to this."""
    num_targets: int = 12
    """Frames in the branches of a forward document with full context; a shorter one leaves room for more."""
    max_horizon: int = 16
    """Longest jump [frames]."""
    near_horizon: int = 8
    """Horizons of 1 to this many frames are twice as likely as longer ones; 0 is half as likely as those."""
    chain_share: float = 0.2
    """Share of forward branches that go on: branches of branches, two or three steps long."""
    condition_dropout: float = 0.1
    """Share of branches without their action and of pictures without their caption, for guidance."""
    action_weight: float = 0.1
    """Language-loss weight of action text in forward documents."""
    num_goals: int = 4
    """Most goals of an inverse document and most commands of an instructed one, each a branch."""
    max_video_frames: int = 16
    video_strides: list[int] = field(default_factory=lambda: [1, 2, 4])
    """Steps between frames of a video document, equally likely."""
    max_characters: int = 700
    """Longest piece of plain text: some 256 tokens of English with a nano vocabulary."""

    def __post_init__(self) -> None:
        smallest = min(
            self.max_context, self.num_targets, self.max_horizon, self.num_goals, self.max_characters
        )
        if smallest < 1 or self.max_video_frames < 2 or min(self.video_strides, default=0) < 1:
            raise ValueError(f"all sizes must be at least 1, a video at least 2 frames; got {self}")
        if not 0 <= self.near_horizon <= self.max_horizon:
            raise ValueError(f"near_horizon must be in [0, max_horizon]; got {self.near_horizon}")
        if self.num_targets + self.max_context > self.max_horizon + 2:
            raise ValueError(
                f"branches have distinct horizons 0..{self.max_horizon}, so num_targets + max_context - 1 "
                f"must be at most {self.max_horizon + 1}; got {self.num_targets + self.max_context - 1}"
            )
        if not (0 <= self.chain_share <= 1 and 0 <= self.condition_dropout <= 1 and self.action_weight >= 0):
            raise ValueError(f"shares must be in [0, 1] and the weight not negative; got {self}")
