"""What the last solve cost, for programs whose results have no place for it."""

import threading

from odevision.ode.solution import Stats

_of_this_thread = threading.local()


def remember(stats: Stats) -> None:
    """Keep the statistics of a solve for `last_stats`."""
    _of_this_thread.stats = stats


def last_stats() -> Stats:
    """Statistics of the last odeint, odeint_adjoint, odeint_event or odeint_dense of this thread.

    After the backward pass of odeint_adjoint, nfe_backward holds what it evaluated. Results that
    require a gradient through odeint_adjoint also hold theirs, as `ys.grad_fn.stats`.

    Raises:
        RuntimeError: this thread has not solved anything yet.
    """
    stats = getattr(_of_this_thread, "stats", None)
    if stats is None:
        raise RuntimeError("`last_stats` must follow a solve in the same thread. Try odeint first.")
    return stats
