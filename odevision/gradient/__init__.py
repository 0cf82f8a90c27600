"""Gradients of a solve with respect to y0, args and whatever the vector field holds.

`direct` lets autograd record every accepted step; `checkpointed` stores only the states between
the steps and makes each step again, one at a time, on the way back. Both are exact: they are the
gradient of the numbers that the forward pass computed.
"""

from odevision.gradient.checkpointed import solve_checkpointed
from odevision.gradient.direct import solve_direct

GRADIENTS = {"direct": solve_direct, "checkpointed": solve_checkpointed}
