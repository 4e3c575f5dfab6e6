"""Laws of the cache: a document is in it once, whatever is asked of it; each token is run once."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from worldmodel.attend import BranchAttend
from worldmodel.branching import FrameSampling
from worldmodel.generation import GenerationConfig, Generator
from worldmodel.generation.sequences import Sequences
from worldmodel.generation.token_choice import TextSampling
from worldmodel.predictor import WorldModel
from worldmodel.transfusion import Transfusion

ONE_STEP = FrameSampling(num_steps=1, guidance=2.0)


class Largest(TorchDispatchMode):
    """Keeps the number of elements of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.num_elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(each, torch.Tensor) and each._base is None:  # views take no memory
                self.num_elements = max(self.num_elements, each.numel())
        return made


@pytest.fixture
def tokens_run(monkeypatch) -> list[tuple[int, ...]]:
    """Return the list of shapes of tokens that the transformer runs from now on."""
    shapes = []
    forward = Transfusion.forward

    def counted(self, inputs, *arguments, **named):
        shapes.append(tuple(inputs.ids.shape))
        return forward(self, inputs, *arguments, **named)

    monkeypatch.setattr(Transfusion, "forward", counted)
    return shapes


def a_document(world_model: WorldModel, latents, num_frames: int) -> Sequences:
    document = [*latents.table[:num_frames], "a"]
    return Sequences(world_model.branching, [document], latents_per_frame=4)


@torch.inference_mode()
def test_a_document_is_held_once_whatever_the_number_of_candidates(world_model, latents):
    """No tensor is as large as the document's keys once a candidate would be."""
    sequences = a_document(world_model, latents, 45)
    before = sequences.num_cached
    num_context, num_kv_heads, head_dim = sequences.context.keys[0].shape[1:]
    assert before == 2 * 2 * num_context * num_kv_heads * head_dim  # keys and values of two layers
    num_candidates = 64
    with Largest() as largest:
        nats = sequences.nats([["a"] * num_candidates])
    assert nats.shape == (1, num_candidates)
    assert sequences.num_cached == before
    assert 0 < largest.num_elements < num_candidates * num_context * num_kv_heads * head_dim


@torch.inference_mode()
def test_candidates_of_a_rollout_share_the_keys_of_the_context(world_model, monkeypatch):
    """Every attention reads the context where it was encoded; a candidate holds its own tokens alone."""
    context = world_model.encode_context(torch.zeros(1, 3, 8, 8, 3, dtype=torch.uint8))
    num_own = []
    attend = BranchAttend.__call__

    def watched(self, layer, *arguments):
        cache = self.caches[layer]
        assert cache.shared_key.data_ptr() == context.keys[layer].data_ptr()
        assert cache.shared_value.data_ptr() == context.values[layer].data_ptr()
        assert cache.shared_key.shape == context.keys[layer].shape
        num_own.append(cache.own_key.numel())
        return attend(self, layer, *arguments)

    monkeypatch.setattr(BranchAttend, "__call__", watched)
    stream = torch.Generator().manual_seed(0)
    world_model.rollout(context, [[["a", "a"]] * 7], num_steps=2, generator=stream)
    # A token of text and <image> after the first step of the sampler, then a frame and its end too.
    numbers = 7 * context.keys[0].shape[2] * context.keys[0].shape[3]
    own = [0, 2, 2, 2 + 5, 2 + 5 + 2]
    assert num_own == [numbers * tokens for tokens in own for _ in context.keys]


@torch.inference_mode()
def test_each_token_is_run_once(world_model, latents, tokens_run):
    document = [latents.table[5], "a"]
    settings = GenerationConfig(text=TextSampling(max_tokens=4), max_frames=0)
    (found,) = Generator(world_model, settings).continue_pieces([document])
    given, *written = tokens_run
    assert given == (1, 1 + 6 + 1)  # <bos>, a frame between its markers, a token
    assert set(written) <= {(1, 1, 1)}
    assert len(written) == len(world_model.tokenizer.encode(found.text)) or not found.has_ended


@torch.inference_mode()
def test_a_frame_is_read_with_its_marker_once_and_alone_from_then_on(world_model, latents, tokens_run):
    sequences = a_document(world_model, latents, 2)
    tokens_run.clear()
    active = torch.ones(1, dtype=torch.bool)
    frame = sequences.imagine(torch.zeros(1, 4, 6), FrameSampling(num_steps=3, guidance=1.0), active)
    assert tokens_run == [(1, 1, 1 + 4), (1, 1, 4), (1, 1, 4)]
    tokens_run.clear()
    sequences.append_frame(frame, active, time=1.0)
    assert tokens_run == [(1, 1, 4 + 1)]


@torch.inference_mode()
def test_a_sequence_that_waits_is_not_changed_by_the_others(world_model, latents):
    documents = [[latents.table[5], "a"], ["go"]]
    both = Sequences(world_model.branching, documents, latents_per_frame=4)
    before = both.logits()[0]
    frame = both.imagine(torch.zeros(2, 4, 6), ONE_STEP, torch.tensor([False, True]))
    both.append_frame(frame, torch.tensor([False, True]), time=1.0)
    assert torch.equal(both.logits()[0], before)
    alone = Sequences(world_model.branching, documents[:1], latents_per_frame=4)
    found = both.imagine(torch.zeros(2, 4, 6), ONE_STEP, torch.tensor([True, False]))[:1]
    expected = alone.imagine(torch.zeros(1, 4, 6), ONE_STEP, torch.tensor([True]))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
