"""The one place that opens a model to generate with, on the model that ships."""

import torch

from worldmodel.evaluation.generators import Speaker, open_generator


def test_a_model_generates_in_its_precision_from_the_seed():
    found = [open_generator("nano", dtype=torch.float32, seed=seed) for seed in (7, 7, 8)]
    assert all(isinstance(each, Speaker) for each in found)
    first, again, other = (each.draw(["a corridor"], names=["a"]) for each in found)
    assert first.shape == (1, 64, 64, 3) and torch.equal(first, again) and not torch.equal(first, other)
    frames = torch.zeros(1, 40, 60, 3, dtype=torch.uint8)
    assert isinstance(found[0].caption(frames)[0], str)
    (nats,) = found[0].answer_nats(frames, ["is the way ahead free?"], [["yes", "no"]])
    assert len(nats) == 2 and min(nats) > 0
