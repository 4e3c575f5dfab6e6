"""Memory of a rollout: the context's keys and values are stored once, whatever the number of candidates."""

import weakref
from collections.abc import Callable

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.worldmodel.conftest import IndexedRepresentation
from worldmodel import attention
from worldmodel.attention import LayerCache
from worldmodel.flow import Prediction
from worldmodel.predictor import WorldModel

NUM_BLOCKS, NUM_HEADS, HEAD_DIM = 3, 2, 64
CONTEXT_BYTES = 4 * 2 * NUM_HEADS * HEAD_DIM
"""Of the keys and values of one context token in one layer."""


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make and that still live, and their maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        given = {id_of(each) for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)}
        for each in tree_leaves(outputs):
            if isinstance(each, torch.Tensor) and id_of(each) not in given | self._known:
                self._add(each.untyped_storage())
        return outputs

    def _add(self, storage: torch.UntypedStorage) -> None:
        identity, size = storage._cdata, storage.nbytes()
        self._known.add(identity)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, identity, size)

    def _remove(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self.live -= size


def id_of(tensor: torch.Tensor) -> int:
    """Return what views of one memory have in common."""
    return tensor.untyped_storage()._cdata


@pytest.fixture
def peak_bytes(make_model, tokenizer, latents) -> Callable[[int, int], int]:
    """Return the peak of what a rollout of some candidates allocates after some context frames."""
    model = make_model(
        width=NUM_HEADS * HEAD_DIM, num_heads=NUM_HEADS, num_kv_heads=NUM_HEADS, num_blocks=NUM_BLOCKS
    )
    world_model = WorldModel(model, tokenizer, IndexedRepresentation(latents), prediction=Prediction.latent)

    def measure(num_candidates: int, num_frames: int) -> int:
        frames = torch.arange(num_frames, dtype=torch.uint8)[None, :, None, None, None]
        context = world_model.encode_context(frames.expand(1, num_frames, 8, 8, 3))
        generator = torch.Generator().manual_seed(0)
        with PeakMemory() as memory:
            world_model.rollout(context, [[["go", "go"]] * num_candidates], num_steps=2, generator=generator)
        return memory.peak

    return measure


def growth(peak_bytes: Callable[[int, int], int]) -> float:
    """Return how many bytes one more candidate takes for one more token of context."""
    few, many, short, long = 1, 17, 2, 12
    tokens = 6 * (long - short)  # of frames: four latents and two markers each
    by_context = [peak_bytes(number, long) - peak_bytes(number, short) for number in (few, many)]
    return (by_context[1] - by_context[0]) / (many - few) / tokens


def copying_attention(query, key, value, cache, own_mask):
    """What `branch_attention` computes, with the context copied for every candidate."""
    shared = (
        each[:, None].expand(-1, query.shape[1], -1, -1, -1).contiguous()
        for each in (cache.shared_key, cache.shared_value)
    )
    own = [torch.cat(parts, dim=2) for parts in zip(shared, (cache.own_key, cache.own_value), strict=True)]
    nothing = LayerCache(cache.shared_key[:, :0], cache.shared_value[:, :0], *own)
    num_shared = cache.shared_key.shape[1]
    shown = torch.ones(*own_mask.shape[:3], num_shared, dtype=torch.bool)
    return attention.branch_attention(query, key, value, nothing, torch.cat((shown, own_mask), dim=-1))


def test_a_candidate_adds_no_copy_of_the_context(peak_bytes, monkeypatch):
    # What is left are scores: the new tokens times the context, of one layer at a time.
    assert 0 < growth(peak_bytes) < CONTEXT_BYTES / 2
    monkeypatch.setattr("worldmodel.attend.branch_attention", copying_attention)
    assert growth(peak_bytes) > CONTEXT_BYTES


def test_every_step_reads_the_one_context_where_it_lies(make_model, tokenizer, latents, monkeypatch):
    model = make_model()
    world_model = WorldModel(model, tokenizer, IndexedRepresentation(latents), prediction=Prediction.latent)
    context = world_model.encode_context(torch.zeros(1, 3, 8, 8, 3, dtype=torch.uint8))
    held = {
        (key.data_ptr(), value.data_ptr()) for key, value in zip(context.keys, context.values, strict=True)
    }
    read = []

    def spying_attention(query, key, value, cache, own_mask):
        read.append((cache.shared_key.data_ptr(), cache.shared_value.data_ptr()))
        return attention.branch_attention(query, key, value, cache, own_mask)

    monkeypatch.setattr("worldmodel.attend.branch_attention", spying_attention)
    generator = torch.Generator().manual_seed(0)
    world_model.rollout(context, [[["go", "go"]] * 5], num_steps=2, generator=generator)
    assert set(read) == held and len(held) == len(model.blocks)
