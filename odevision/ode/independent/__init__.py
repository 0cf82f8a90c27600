"""Solves in which every sample has a clock of its own: ends, steps, saved times, events, failures.

Every sample that still runs is a row. An attempted step of all rows is one step of the solver from
s = 0 to 1 in dy/ds = dt f(t + s dt, y), where t and dt differ from row to row: so every one-step
solver serves as it is. Rows that finish leave, and cost no further evaluation.

Read `loop.py` first; `rows.py` is its state, `step.py` one step and what makes it again,
`control.py` the step sizes, `attempt.py` what becomes of a step, `moments.py` the states inside it.
"""

from odevision.ode.independent.event import RowEventWatch
from odevision.ode.independent.failure import RESULTS
from odevision.ode.independent.loop import OnAccept, RowTrajectory, integrate_independent
from odevision.ode.independent.rows import RowsWanted
from odevision.ode.independent.step import (
    Moments,
    RowStep,
    RowTimes,
    SampleField,
    make_step,
    user_view,
)

__all__ = [
    "RESULTS",
    "OnAccept",
    "Moments",
    "RowEventWatch",
    "RowStep",
    "RowTimes",
    "RowTrajectory",
    "RowsWanted",
    "SampleField",
    "integrate_independent",
    "make_step",
    "user_view",
]
