"""odevision behind other libraries' names, for programs that were written for those libraries.

`odevision.compat.torchdiffeq` has torchdiffeq's functions. Where a program can be edited, change
its import; where it cannot, call `install()` before it is imported.
"""

import sys
from types import ModuleType

from odevision.compat import torchdiffeq


def install() -> ModuleType:
    """Make `import torchdiffeq` give `odevision.compat.torchdiffeq`, in this process.

    Call it before anything imports torchdiffeq, such as torchcde. A second call changes nothing.

    Returns:
        The module that is now named torchdiffeq.

    Raises:
        ImportError: the real torchdiffeq was imported earlier. What has taken functions from it
            would keep them, and one program would run on two libraries.
    """
    present = sys.modules.get("torchdiffeq")
    if present is not None and present is not torchdiffeq:
        raise ImportError(
            "`odevision.compat.install()` must run before torchdiffeq is imported; it was imported "
            f"from {getattr(present, '__file__', None)}. Try to call it at the top of the program, "
            "before the imports that need torchdiffeq (torchcde is one).",
            name="torchdiffeq",
        )
    sys.modules["torchdiffeq"] = torchdiffeq
    return torchdiffeq
