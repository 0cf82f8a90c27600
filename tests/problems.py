"""Initial value problems with closed-form solutions, in float64."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

DOUBLE = torch.float64


@dataclasses.dataclass(frozen=True)
class Problem:
    name: str
    vector_field: Callable[[Tensor, Tensor], Tensor]
    y0: Tensor
    t0: float
    t1: float
    exact: Callable[[float], Tensor]

    @property
    def y1(self) -> Tensor:
        return self.exact(self.t1)


def logistic() -> Problem:
    y0 = torch.tensor([[0.1, 0.2], [0.4, 0.5]], dtype=DOUBLE)
    return Problem(
        "logistic",
        lambda t, y: 2 * y * (1 - y),
        y0,
        0.0,
        2.0,
        lambda t: y0 / (y0 + (1 - y0) * math.exp(-2 * t)),
    )


def forced_growth() -> Problem:
    y0 = torch.tensor([1.0, -0.5, 2.0], dtype=DOUBLE)
    return Problem(
        "forced growth",
        lambda t, y: y * torch.cos(t),
        y0,
        0.3,
        1.5,
        lambda t: y0 * math.exp(math.sin(t) - math.sin(0.3)),
    )


def algebraic_decay() -> Problem:
    y0 = torch.tensor([[1.0]], dtype=DOUBLE)
    return Problem(
        "algebraic decay",
        lambda t, y: -2 * t * y * y,
        y0,
        0.0,
        1.5,
        lambda t: torch.tensor([[1 / (1 + t * t)]], dtype=DOUBLE),
    )


def spiral() -> Problem:
    """z' = (-0.2 + 2i) z as a real system of two components."""
    matrix = torch.tensor([[-0.2, -2.0], [2.0, -0.2]], dtype=DOUBLE)
    y0 = torch.tensor([[1.0, 0.5], [0.3, -1.0]], dtype=DOUBLE)
    return Problem(
        "spiral",
        lambda t, y: y @ matrix.T,
        y0,
        0.0,
        2.0,
        lambda t: y0 @ torch.linalg.matrix_exp(matrix * t).T,
    )


def complex_rotation() -> Problem:
    """z' = i t z."""
    y0 = torch.tensor([1.0 + 0.5j, -0.3j], dtype=torch.complex128)
    return Problem(
        "complex rotation",
        lambda t, y: 1j * t * y,
        y0,
        0.0,
        2.0,
        lambda t: y0 * torch.exp(torch.tensor(0.5j * t * t, dtype=torch.complex128)),
    )


PROBLEMS = (logistic(), forced_growth(), algebraic_decay(), spiral(), complex_rotation())


def error(actual: Tensor, expected: Tensor) -> float:
    """Largest absolute difference."""
    return float((actual - expected).abs().max())


def in_tolerance_units(actual: Tensor, expected: Tensor, rtol: float, atol: float) -> float:
    """Largest difference in units of the tolerance."""
    return float(((actual - expected).abs() / (atol + rtol * expected.abs())).max())
