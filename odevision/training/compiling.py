"""torch.compile for networks with ODE blocks, where there is a compiler."""

import logging
import os
import shutil

import torch
from torch import Tensor, nn

from odevision.nn.conv_gru import ConvGRUCell
from odevision.nn.conv_lstm import ConvLSTMCell
from odevision.nn.gap_ode import GapODE
from odevision.nn.ode_block import ODEBlock

logger = logging.getLogger(__name__)

COMPILERS = ("c++", "g++", "clang++")


def find_compiler() -> str | None:
    """Find the C++ compiler that torch.compile needs.

    Returns:
        Its path, or None.
    """
    names = [name for name in (os.environ.get("CXX"), *COMPILERS) if name]
    return next((path for name in names if (path := shutil.which(name))), None)


def why_not_compiled(device: torch.device) -> str | None:
    """Compile one tiny function, to learn whether torch.compile works before training needs it.

    Args:
        device: to compile for.

    Returns:
        The error (missing Python headers, no C compiler for Triton, ...), or None if it works.
    """
    try:
        torch.compile(_tiny)(torch.zeros(4, device=device))
    except Exception as error:  # the parts of torch.compile raise all kinds
        first_line = next(iter(str(error).splitlines()), "")
        return f"{type(error).__name__}: {first_line}"
    return None


def _tiny(x: Tensor) -> Tensor:
    return x.sin() + 1


def compile_model(model: nn.Module) -> bool:
    """Compile vector fields and the layers around the ODE blocks, in place.

    The loop of the solver stays in Python: its number of steps depends on the data, and it costs
    little beside the vector field.

    Args:
        model: the network; names of its parameters stay.

    Returns:
        Whether it was compiled; where that cannot be done a warning says so, and training
        goes on.
    """
    if find_compiler() is None:
        logger.warning(
            "`compile` was asked for, but there is no C++ compiler ($CXX, %s): going on without. "
            "Install one, such as g++, or set compile to false.",
            ", ".join(COMPILERS),
        )
        return False
    reason = why_not_compiled(next(model.parameters()).device)
    if reason is not None:
        logger.warning(
            "`compile` was asked for, but torch.compile fails here (%s): going on without. Repair "
            "that, or set compile to false.",
            reason,
        )
        return False
    _compile_parts(model)
    return True


_CALLED_IN_PARTS = (nn.ModuleList, ConvGRUCell, ConvLSTMCell)
"""`Module.compile` would do nothing for these: they are never called as a whole."""


def _compile_parts(module: nn.Module) -> None:
    if isinstance(module, ODEBlock | GapODE):
        module.vector_field.compile()
    elif isinstance(module, _CALLED_IN_PARTS) or any(
        isinstance(part, ODEBlock | GapODE) for part in module.modules()
    ):
        for child in module.children():
            _compile_parts(child)
    else:
        module.compile()
