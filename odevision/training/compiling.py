"""torch.compile for networks with ODE blocks, where there is a compiler."""

import logging
import os
import shutil

from torch import nn

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


def compile_model(model: nn.Module) -> bool:
    """Compile vector fields and the layers around the ODE blocks, in place.

    The loop of the solver stays in Python: its number of steps depends on the data, and it costs
    little beside the vector field.

    Args:
        model: the network; names of its parameters stay.

    Returns:
        Whether it was compiled; without a compiler a warning says so, and training goes on.
    """
    if find_compiler() is None:
        logger.warning(
            "`compile` was asked for, but there is no C++ compiler ($CXX, %s): going on without. "
            "Install one, such as g++, or set compile to false.",
            ", ".join(COMPILERS),
        )
        return False
    _compile_parts(model)
    return True


def _compile_parts(module: nn.Module) -> None:
    if isinstance(module, ODEBlock):
        module.vector_field.compile()
    elif any(isinstance(part, ODEBlock) for part in module.modules()):
        for child in module.children():
            _compile_parts(child)
    else:
        module.compile()
