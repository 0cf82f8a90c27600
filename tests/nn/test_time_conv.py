"""TimeConv2d equals the convolution over the image with the time as one more channel."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from odevision.nn.time_conv import TimeConv2d


def concatenated(conv: TimeConv2d, t: Tensor, x: Tensor) -> Tensor:
    weight = torch.cat([conv.time_weight, conv.weight], 1)
    channel = t.expand(x.shape[0], 1, *x.shape[2:])
    return F.conv2d(torch.cat([channel, x], 1), weight, conv.bias, padding=conv.padding)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (1, 3, 7, 4), (3, 3, 1, 1)])
def test_it_equals_the_convolution_over_the_concatenated_time(shape, kernel_size: int) -> None:
    torch.manual_seed(0)
    conv = TimeConv2d(3, 5, kernel_size).double()
    x, t = torch.randn(*shape, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    torch.testing.assert_close(
        conv(t, x, conv.time_response(x)), concatenated(conv, t, x), rtol=1e-12, atol=1e-12
    )


def test_its_gradients_equal_those_over_the_concatenated_time() -> None:
    torch.manual_seed(0)
    conv = TimeConv2d(3, 5).double()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    t = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    wanted = [x, t, *conv.parameters()]
    ours = torch.autograd.grad(conv(t, x, conv.time_response(x)).square().sum(), wanted)
    theirs = torch.autograd.grad(concatenated(conv, t, x).square().sum(), wanted)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_it_has_the_parameters_of_a_convolution_with_one_more_channel() -> None:
    count = sum(p.numel() for p in TimeConv2d(3, 5).parameters())
    assert count == sum(p.numel() for p in torch.nn.Conv2d(4, 5, 3).parameters())


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="`kernel_size` must be odd, got 4"):
        TimeConv2d(3, 5, 4)
