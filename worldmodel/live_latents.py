"""LiveLatents: latents of frames that are encoded when they are asked for, where each is looked up once."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from data_tools.documents import FrameKey
from data_tools.trajectory import Trajectory
from worldmodel.representation.interface import Representation
from worldmodel.representation.resize import resize_frames

ENCODE_BATCH = 64


class LiveLatents:
    """A `LatentSource` without a cache; it keeps nothing."""

    def __init__(self, representation: Representation, trajectories: Sequence[Trajectory]) -> None:
        self._representation, self._trajectories = representation, trajectories
        self.num_channels = representation.num_channels
        self.num_context_channels = representation.num_context_channels

    def lookup(self, keys: Sequence[FrameKey]) -> Float[Tensor, "frame token channel"]:
        """Return the normalised latents of frames, each frame encoded once a call."""
        unique = list(dict.fromkeys(keys))
        if not unique:
            channels = self.num_context_channels + self.num_channels
            return torch.zeros(0, self._representation.num_tokens, channels)
        parts = []
        for first in range(0, len(unique), ENCODE_BATCH):
            frames = [self._frame(key) for key in unique[first : first + ENCODE_BATCH]]
            parts.append(self._representation.encode(torch.cat(frames)).float().cpu())
        latents, place = torch.cat(parts), {key: index for index, key in enumerate(unique)}
        return latents[torch.tensor([place[key] for key in keys], dtype=torch.long)]

    def _frame(self, key: FrameKey) -> Tensor:
        frame = torch.from_numpy(np.array(self._trajectories[key.trajectory].frames[key.frame]))
        return resize_frames(frame[None], image_size=self._representation.image_size)
