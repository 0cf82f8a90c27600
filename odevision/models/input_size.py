"""Whether a network can take inputs of a size."""

import torch
from torch import Tensor

from odevision.models.registry import Model
from odevision.ode.solution import SolveError
from odevision.types import Clips


def check_input_size(model: Model, inputs: Tensor | Clips, *, name: str, given: object) -> None:
    """Refuse inputs that are too small for a network's convolutions: the first one is tried.

    The network is left as it was.

    Args:
        model: the network.
        inputs: normalized images, or clips, on its device.
        name: of the option that decides the size.
        given: its value, as the user wrote it.

    Raises:
        ValueError: the network cannot take them.
    """
    one = inputs[:1] if isinstance(inputs, Tensor) else Clips(*(part[:1] for part in inputs))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(one)
    except (SolveError, torch.OutOfMemoryError):
        pass  # The size is not at fault; whoever goes on meets it again.
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must suit the network, got {given}: {error}. Try a larger one."
        ) from error
    finally:
        model.train(was_training)
