"""ODEBlock: a layer whose output is the state at t1 of an ODE that starts at its input."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from odevision.nn.step_error import StageRecorder, refuse_step_error
from odevision.ode.controller import PIDController
from odevision.ode.solution import Solution, Stats
from odevision.solve import (
    DEFAULT_MAX_STEPS,
    Gradient,
    odesolve,
    refuse_changing_layers,
    resolve_gradient,
    resolve_solver,
)
from odevision.types import Number

_HALF = (torch.bfloat16, torch.float16)


def prepared(vector_field: nn.Module, y0: Any) -> tuple[Any, ...]:
    """What f makes of its weights alone, once a solve: its further arguments, if it has `prepare`.

    Args:
        vector_field: f.
        y0: the state, for its dtype and device.
    """
    prepare = getattr(vector_field, "prepare", None)
    return () if prepare is None else tuple(prepare(y0))


class ODEBlock(nn.Module):
    """y(t1) where dy/dt = f(t, y) and y(t0) is the input.

    The input is what `odesolve` takes as a state: a tensor, or tuples, lists and dicts of them.
    Half-precision inputs are raised to float32: the state is a sum of many small increments. Under
    autocast only the vector field computes in half precision. Without it they stay as they are
    where the vector field's parameters are in half precision themselves.

    Args:
        vector_field: module called as f(t, y), keeping y's shape. With a method `prepare(y)`, what
            that returns is made once a solve and passed on as further arguments.
        solver: name of the solver. dopri5 is the paper's.
        num_steps: equal steps; None adapts them to the tolerance.
        rtol: relative tolerance.
        atol: absolute tolerance.
        gradient: `direct` (fastest), `checkpointed` (one state a step), `reversible` (nothing but
            the end), `auto`, `backsolve` (not exact), or an object with its options.
        t0: start time.
        t1: end time.
        max_steps: most attempted steps.
        compile: make graphs with torch.compile; see `odesolve`.
        warm_start: in training, start adaptive steps with the length that suited the batch before,
            instead of an estimate that takes one evaluation and starts short. The length is part
            of the state_dict; evaluation does not use it.

    Attributes:
        measures_step_error: set it to have `last_step_error` made in training; it costs no
            evaluation of f, but needs equal Runge-Kutta steps, gradient="direct" and compile=False.
        last_step_error: of the latest solve without times to save: the mean square difference
            between each step and the Euler step inside it, relative to the mean square of the
            input; with a graph, so that it can be a term of the loss. None where it was not
            measured.
        last_stats: cost of the latest forward pass, and of its backward pass once that has run.

    Raises:
        ValueError: an argument is out of range, or the field holds BatchNorm or dropout, with which
            f would change between two evaluations of one solve.
    """

    dt_warm: Tensor

    def __init__(
        self,
        vector_field: nn.Module,
        *,
        solver: str = "dopri5",
        num_steps: int | None = None,
        rtol: Number = 1e-3,
        atol: Number = 1e-3,
        gradient: Gradient = "checkpointed",
        t0: Number = 0.0,
        t1: Number = 1.0,
        max_steps: int = DEFAULT_MAX_STEPS,
        compile: bool = False,
        warm_start: bool = False,
    ) -> None:
        """Keep the settings; they are checked at the first solve as odesolve checks them."""
        super().__init__()
        resolve_gradient(gradient).solver_for(resolve_solver(solver))
        self.vector_field = vector_field
        self.solver = solver
        self.num_steps = num_steps
        self.rtol, self.atol = rtol, atol
        self.gradient: Gradient = gradient
        self.t0, self.t1 = t0, t1
        self.max_steps = max_steps
        self.compile_solve, self.warm_start = compile, warm_start
        if warm_start:
            if num_steps is not None:
                raise ValueError(
                    "`warm_start` must be False where `num_steps` fixes the steps, got num_steps = "
                    f"{num_steps}. Try num_steps=None."
                )
            # 0 until the first batch; read on the host once a solve. float32 as weights are saved.
            self.register_buffer("dt_warm", torch.zeros((), dtype=torch.float32))
        self.last_stats: Stats | None = None
        self.measures_step_error = False
        self.last_step_error: Tensor | None = None
        refuse_changing_layers(vector_field)

    def forward(self, y0: Any) -> Any:
        """The state at t1, of y0's structure and shapes; a tensor without entries as it is.

        Raises:
            SolveError: t1 could not be reached.
        """
        if isinstance(y0, Tensor) and y0.numel() == 0:  # a batch of nothing
            self.last_stats, self.last_step_error = Stats(), None
            y0 = self._raised(y0)
            # Evaluated all the same: the parameters stay in the graph, where DDP looks for them.
            t0 = torch.tensor(float(self.t0), device=y0.device)
            return y0 + 0 * self.vector_field(t0, y0, *prepared(self.vector_field, y0))
        return self.solve(y0).y1

    def trajectory(self, y0: Any, ts: Float[Tensor, " times"]) -> Any:
        """The states at the times ts, shape (times, *y0.shape); ts lie between t0 and t1."""
        return self.solve(y0, save_at=ts).ys

    def solve(self, y0: Any, save_at: Float[Tensor, " times"] | None = None) -> Solution:
        """The whole Solution; see `odevision.odesolve`."""
        y0 = self._raised(y0)
        self.last_step_error = None
        recorder = self._recorder(y0) if save_at is None else None
        solution = odesolve(
            self.vector_field if recorder is None else recorder,
            y0,
            self.t0,
            self.t1,
            args=prepared(self.vector_field, y0),
            solver=self.solver,
            gradient=self.gradient,
            save_at=save_at,
            max_steps=self.max_steps,
            compile=self.compile_solve,
            **self._steps(),
        )
        self.last_stats = solution.stats
        if recorder is not None:
            assert self.num_steps is not None
            span, method = float(self.t1) - float(self.t0), resolve_solver(self.solver)
            self.last_step_error = recorder.mean_square_error(method, self.num_steps, span, y0)
        if self.warm_start and self.training and solution.stats.dt_warm is not None:
            self.dt_warm.fill_(solution.stats.dt_warm)
        return solution

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles take no graph along."""
        return {**super().__getstate__(), "last_step_error": None}

    def _raised(self, y0: Any) -> Any:
        """The input as the state that is solved for."""

        def raised(x: Any) -> Any:
            if not isinstance(x, Tensor) or x.dtype not in _HALF:
                return x
            parameter = next(self.vector_field.parameters(), None)
            is_half = parameter is not None and parameter.dtype in _HALF
            return x if is_half and not torch.is_autocast_enabled(x.device.type) else x.float()

        return pytree.tree_map(raised, y0)

    def _recorder(self, y0: Any) -> StageRecorder | None:
        """What the vector field is called through where the step error is measured."""
        if not (self.measures_step_error and self.training and torch.is_grad_enabled()):
            return None
        if not isinstance(y0, Tensor):
            raise ValueError(
                "`measures_step_error` must be False for nested states, got a "
                f"{type(y0).__name__}. Try one tensor."
            )
        gradient = self.gradient if isinstance(self.gradient, str) else self.gradient.name
        refuse_step_error(resolve_solver(self.solver), self.num_steps, gradient)
        if self.compile_solve:
            raise ValueError(
                "`compile` must be False to measure the step error: a graph hands out no slopes. "
                "Try vector_field.compile()."
            )
        refuse_changing_layers(self.vector_field)  # odesolve sees the recorder only
        return StageRecorder(self.vector_field)

    def _steps(self) -> dict[str, Any]:
        """How odesolve chooses the steps."""
        dt0 = float(self.dt_warm) if self.warm_start and self.training else 0.0
        if dt0 > 0:
            return {"controller": PIDController(rtol=self.rtol, atol=self.atol, dt0=dt0)}
        return {"num_steps": self.num_steps, "rtol": self.rtol, "atol": self.atol}

    def extra_repr(self) -> str:
        """The settings of the solve."""
        steps = f"rtol={self.rtol}, atol={self.atol}"
        if self.num_steps is not None:
            steps = f"num_steps={self.num_steps}"
        gradient = self.gradient if isinstance(self.gradient, str) else self.gradient.name
        return f"solver={self.solver}, {steps}, gradient={gradient}, t=[{self.t0}, {self.t1}]"
