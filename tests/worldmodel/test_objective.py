"""Laws of the weights of the losses."""

import pytest
import torch

from worldmodel.objective import ObjectiveConfig, Weighing, loss_weights, next_centre

CENTRED = ObjectiveConfig(weighing=Weighing.centred, centre_flow_share=0.25, centre_decay=0.8)


def means(language: float, flow: float) -> torch.Tensor:
    return torch.tensor([language, flow], requires_grad=True)


def test_fixed_weights_are_the_papers():
    assert loss_weights(means(2.0, 0.5), torch.tensor(7.0), ObjectiveConfig()).tolist() == [1.0, 3.0]


def test_the_centre_by_hand():
    first = next_centre(None, means(4.0, 2.0), CENTRED)
    assert first.item() == pytest.approx(0.25 * 2 + 0.75 * 4)
    second = next_centre(first, means(2.0, 2.0), CENTRED)
    assert second.item() == pytest.approx(0.8 * 3.5 + 0.2 * 2)
    assert not second.requires_grad


def test_centred_losses_are_equal_whatever_their_scale_and_only_their_gradients_differ():
    for scale in (0.01, 1.0, 100.0):
        found = means(4.0, 2.0 * scale)
        centre = next_centre(None, found, CENTRED)
        weights = loss_weights(found, centre, CENTRED)
        torch.testing.assert_close((weights * found).detach(), centre.expand(2))
        (weights * found).sum().backward()
        torch.testing.assert_close(found.grad, centre / found.detach())


@pytest.mark.parametrize(("language", "flow"), [(3.0, 0.0), (0.0, 3.0)])
def test_a_batch_of_one_modality_leaves_the_centre_to_it(language, flow):
    found = means(language, flow)
    centre = next_centre(None, found, CENTRED)
    assert centre.item() == 3.0
    weights = loss_weights(found, centre, CENTRED)
    assert torch.isfinite(weights).all() and (weights * found).sum().item() == 3.0


def test_shares_outside_their_range_are_refused():
    with pytest.raises(ValueError, match=r"centre_decay must be in \[0, 1\), got 1.0"):
        ObjectiveConfig(centre_decay=1.0)
    with pytest.raises(ValueError, match="centre_flow_share"):
        ObjectiveConfig(centre_flow_share=-0.1)
