"""The norm is the one of torch, and keeps small channels in bfloat16."""

import pytest
import torch
import torch.nn.functional as F

from worldmodel.rms_norm import RmsNorm


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_it_is_the_norm_of_torch(dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, generator=generator)
    norm = RmsNorm(5, eps=1e-5)
    with torch.no_grad():
        norm.weight.normal_(generator=generator)
    expected = F.rms_norm(x, (5,), norm.weight, eps=1e-5)
    found = norm(x.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)
