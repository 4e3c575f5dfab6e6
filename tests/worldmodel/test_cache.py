"""The cache: tokens that are read later, from kept keys and values, come out as if all were read at once."""

from dataclasses import fields

import pytest
import torch

from data_tools.documents import Branch, Document, FrameKey, Image, Kind, Text
from tests.worldmodel.conftest import NUM_LATENTS
from tests.worldmodel.trees import pack_rows
from worldmodel.attend import BranchAttend, PackedAttend
from worldmodel.attention import LayerCache, hybrid_mask
from worldmodel.documents import PackedBatch
from worldmodel.feedforward import FeedForwardKind, Modalities
from worldmodel.transfusion import ActionInput, TokenInputs

NUM_CANDIDATES = 3
TOKENS_PER_ROW = 140


def step(number: int) -> tuple[Text, Image]:
    """Return an action and the frame it leads to; all actions have equally many tokens."""
    return Text(f"action: dx=+0.33{number}", 0.1), Image(FrameKey(0, 20 + number), is_target=True)


def document(first: int) -> Document:
    """Return two context frames, then candidates of two steps each."""
    context = tuple(Image(FrameKey(0, first + number), is_target=False) for number in range(2))
    candidates = tuple(
        Branch(step(number), (Branch(step(number + NUM_CANDIDATES)),)) for number in range(NUM_CANDIDATES)
    )
    return Document(Kind.forward, context, candidates)


def inputs_at(batch: PackedBatch, tokens: torch.Tensor) -> TokenInputs:
    """Take some tokens of all rows."""
    return TokenInputs(**{item.name: getattr(batch, item.name)[:, tokens] for item in fields(TokenInputs)})


@pytest.mark.parametrize("heads", [(3, 1), (6, 2), (3, 3)])
@pytest.mark.parametrize("kind", list(FeedForwardKind))
def test_reading_in_three_stretches_equals_reading_at_once(make_model, tokenizer, latents, kind, heads):
    model = make_model(
        feedforward=kind, num_heads=heads[0], num_kv_heads=heads[1], action_input=ActionInput.text_value
    )
    batch, places = pack_rows([document(3), document(11)], tokenizer, latents, tokens_per_row=TOKENS_PER_ROW)
    mask = hybrid_mask(batch.reach, batch.frame)

    def run(tokens, attend):
        inputs = inputs_at(batch, tokens)
        return model(inputs, attend, Modalities.of(inputs.is_image))[0]

    def at(*paths):
        """Index the tokens of branches, candidate by token."""
        own = [[token for token, place in enumerate(places[0]) if place.path == path] for path in paths]
        return torch.tensor(own)

    expected = run(torch.arange(TOKENS_PER_ROW), PackedAttend(mask))
    context = at(())[0]
    reading = PackedAttend(mask[:, context[:, None], context], keep=True)
    torch.testing.assert_close(run(context, reading), expected[:, context], atol=1e-5, rtol=1e-5)
    own = [(key.new_zeros(2, NUM_CANDIDATES, 0, *key.shape[2:]),) * 2 for key, _ in reading.kept]
    past = torch.zeros(NUM_CANDIDATES, 0, dtype=torch.long)
    for suffix in ((), (0,)):
        tokens = at(*((candidate, *suffix) for candidate in range(NUM_CANDIDATES)))
        seen = torch.cat((past, tokens), dim=1)
        caches = [LayerCache(*shared, *mine) for shared, mine in zip(reading.kept, own, strict=True)]
        attend = BranchAttend(caches, mask[:, tokens[:, :, None], seen[:, None, :]])
        torch.testing.assert_close(run(tokens, attend), expected[:, tokens], atol=1e-5, rtol=1e-5)
        own = [
            tuple(torch.cat(pair, dim=2) for pair in zip(mine, new, strict=True))
            for mine, new in zip(own, attend.kept, strict=True)
        ]
        past = seen
    assert past.shape[1] > 2 * NUM_LATENTS
