import pytest
import torch

from tests.worldmodel.representation.synthetic import TINY, make_frames
from worldmodel.representation.masked import (
    Attention,
    MaskedCompletion,
    MaskedConfig,
    Views,
    encode_tokens,
    patch_errors,
    to_patches,
)
from worldmodel.representation.rae import RaeRepresentation, encoder_of, initialise


def make_task(views: Views, mask_share: float = 0.75) -> MaskedCompletion:
    generator = torch.Generator().manual_seed(0)
    encoder = encoder_of(RaeRepresentation.create(TINY, generator=generator).autoencoder)
    config = MaskedConfig(views=views, decoder_hidden_size=12, decoder_num_heads=3, mask_share=mask_share)
    return MaskedCompletion(encoder, config, generator=generator)


def test_encoding_all_patches_agrees_with_the_autoencoder():
    representation = RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(1))
    frames = make_frames(3, seed=1)
    tokens = encode_tokens(encoder_of(representation.autoencoder), to_patches(frames, patch=16), keep=None)
    torch.testing.assert_close(tokens, representation.encode(frames), rtol=1e-3, atol=1e-4)


def test_order_of_visible_patches_does_not_matter():
    task = make_task(Views.single)
    patches = to_patches(make_frames(2, seed=2), patch=16)
    forth = encode_tokens(task.encoder, patches, keep=torch.tensor([[0, 2, 3], [1, 2, 0]]))
    back = encode_tokens(task.encoder, patches, keep=torch.tensor([[3, 2, 0], [0, 2, 1]]))
    torch.testing.assert_close(forth, back.flip(dims=[1]))


def test_hidden_pixels_reach_the_loss_as_target_only():
    """The completion itself is the same whatever stands in the hidden patches."""
    task = make_task(Views.cross, mask_share=0.5)
    seen = []
    task.decoder.register_forward_hook(lambda module, given, made: seen.append(made))
    first, second = make_frames(2, seed=3), make_frames(2, seed=4)
    order = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3]])
    task(first, second, order)
    first[:, 16:] = 0  # the lower two of the four patches: those that are hidden
    task(first, second, order)
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)


@pytest.mark.parametrize(("views", "is_used"), [(Views.cross, True), (Views.single, False)])
def test_second_view_is_used_across_views_only(views, is_used):
    task = make_task(views, mask_share=0.5)
    order = torch.tensor([[2, 1, 0, 3]])
    first = make_frames(1, seed=5)
    losses = [float(task(first, make_frames(1, seed=seed), order).detach()) for seed in (6, 7)]
    assert (losses[0] != losses[1]) == is_used


def test_patches_stand_row_by_row():
    frames = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    frames[0, 16:, :16] = 255
    means = to_patches(frames, patch=16).mean(dim=2)
    torch.testing.assert_close(means, torch.tensor([[-1.0, -1.0, 1.0, -1.0]]))


def test_error_of_a_patch_by_hand():
    patches = torch.tensor([[[-1.0, 1.0, -1.0, 1.0]]])  # variance 4/3
    errors = patch_errors(torch.zeros(1, 1, 4), patches, contrast_floor=0.5)
    torch.testing.assert_close(errors, torch.tensor([[1 / (4 / 3 + 0.25)]]))


def test_attention_agrees_with_torch():
    module = Attention(12, 3)
    initialise(module, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    tokens, source = torch.randn(2, 5, 12, generator=generator), torch.randn(2, 7, 12, generator=generator)
    reference = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        weights = torch.cat([module.query.weight, module.key_value.weight])
        reference.in_proj_weight.copy_(weights)
        reference.in_proj_bias.zero_()
        reference.out_proj.weight.copy_(module.out.weight)
        reference.out_proj.bias.zero_()
    torch.testing.assert_close(module(tokens, source), reference(tokens, source, source)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask_share": 1.0}, "mask_share"),
        ({"max_gap": 0}, "max_gap"),
        ({"contrast_floor": 0.0}, "contrast_floor"),
    ],
)
def test_impossible_tasks_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        MaskedConfig(**change)


@pytest.mark.parametrize("mask_share", [0.01, 0.99])
def test_a_share_that_hides_no_patch_or_all_is_refused(mask_share):
    with pytest.raises(ValueError, match=f"{mask_share} hides"):
        make_task(Views.cross, mask_share=mask_share)
