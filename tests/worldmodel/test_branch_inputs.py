"""What a candidate's new tokens see, by hand."""

import torch

from worldmodel.branch_inputs import own_mask


def test_text_is_causal_and_a_frame_sees_all_text_and_itself():
    # One token of the past, one of padding, one of text, a frame of two.
    past = torch.tensor([[[True]]])
    new = torch.tensor([[[False, True, True, True]]])
    expected = torch.tensor(
        [
            [1, 1, 0, 0, 0],  # padding sees itself, so that its softmax is defined
            [1, 0, 1, 0, 0],
            [1, 0, 1, 1, 1],
            [1, 0, 1, 1, 1],
        ]
    ).bool()
    assert torch.equal(own_mask(past, new, num_text=2)[0, 0], expected)
