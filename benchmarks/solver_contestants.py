"""The libraries that `benchmarks.solvers` compares, behind one interface: y0 -> y(t1)."""

import dataclasses
import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchdiffeq
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from benchmarks.solver_problems import Problem
from odevision import odesolve
from odevision.ode.controller import PIDController
from odevision.ode.norm import rms_norm, worst_sample_norm
from odevision.ode.per_sample import PerSample

COMPILED = ", compiled"
SYSTEMS_IN_LOOP = 200  # of the independent systems, when SciPy solves them one by one
Solve = Callable[[Tensor], Tensor]
Wrap = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to solve a problem.

    Attributes:
        name: library and settings.
        build: makes y0 -> y(t1); it is given a wrapper to put around f, by which f is counted.
        against: the contestant of ours that a ratio compares this one with; None for ours.
        build_counted: makes the same solve where `build` cannot take a wrapped f.
        share: the part of the systems that it solves; its time is scaled up to all of them.
    """

    name: str
    build: Callable[[Wrap], Solve]
    against: str | None = None
    build_counted: Callable[[Wrap], Solve] | None = None
    share: float = 1.0


class Counter:
    """Counts the calls of f, and the samples in them.

    Args:
        features: entries of one sample.
    """

    def __init__(self, features: int) -> None:
        """Start at 0."""
        self.features = features
        self.calls = 0
        self.samples = 0.0

    def note(self, y: Tensor | np.ndarray) -> None:
        """Count a call at state y."""
        self.calls += 1
        self.samples += int(np.prod(y.shape)) / self.features

    def wrap(self, f: Any) -> Any:
        """The same f, counted; a module stays one, so that its parameters are found."""
        return _CountedModule(f, self) if isinstance(f, nn.Module) else self._wrap_function(f)

    def _wrap_function(self, f: Callable[..., Any]) -> Callable[..., Any]:
        def counted(t: Any, y: Any, *args: Any) -> Any:
            self.note(y)
            return f(t, y, *args)

        return counted


class _CountedModule(nn.Module):
    def __init__(self, f: nn.Module, counter: Counter) -> None:
        super().__init__()
        self.f, self.counter = f, counter

    def forward(self, t: Tensor, y: Tensor, *args: Tensor) -> Tensor:
        self.counter.note(y)
        return self.f(t, y, *args)


def contestants(problem: Problem, kind: str) -> list[Contestant]:
    """All that can do it; `kind` is forward or gradient."""
    found = ours(problem, kind)
    equal = "worst-sample norm"
    found += torchdiffeq_contestants(problem, kind)
    found += torchode_contestants(problem, kind, equal)
    return found + (scipy_contestants(problem, equal) if kind == "forward" else [])


def ours(problem: Problem, kind: str) -> list[Contestant]:
    """Odevision with both norms and gradients, compiled or not, and with steps of each sample's."""

    def contestant(gradient: Any, label: str, **settings: Any) -> Contestant:
        def build(wrap: Wrap, compile: bool = settings.pop("compile", False)) -> Solve:
            f = wrap(problem.our_field)
            own = problem.per_sample_args and "batch" in settings
            mark = PerSample if own else (lambda x: x)

            def solve(y0: Tensor) -> Tensor:
                args = tuple(mark(x) for x in problem.our_args(y0))
                given = {"args": args, "solver": "dopri5", "gradient": gradient, **settings}
                return odesolve(f, y0, 0.0, problem.t1, compile=compile, **given).y1

            return solve

        method = f" {gradient}" if kind == "gradient" else ""
        counted = functools.partial(build, compile=False)
        return Contestant(name=f"odevision{method}, {label}", build=build, build_counted=counted)

    found = []
    for gradient in ("direct", "checkpointed") if kind == "gradient" else ("direct",):
        for label, norm in (("mean norm", rms_norm), ("worst-sample norm", worst_sample_norm)):
            tolerance = problem.tolerance
            controller = PIDController(rtol=tolerance, atol=tolerance, norm=norm)
            found.append(contestant(gradient, label, controller=controller))
            compiled = {"controller": controller, "compile": True}
            found.append(contestant(gradient, f"{label}{COMPILED}", **compiled))
        tolerances = {"rtol": problem.tolerance, "atol": problem.tolerance}
        found.append(contestant(gradient, "independent", batch="independent", **tolerances))
    return found


def torchdiffeq_contestants(problem: Problem, kind: str) -> list[Contestant]:
    """odeint, and the continuous adjoint where gradients are wanted."""
    t = torch.tensor([0.0, problem.t1], device=problem.y0.device)

    def contestant(solve: Any, against: str) -> Contestant:
        def build(wrap: Wrap) -> Solve:
            f = wrap(problem.field)
            tolerance = problem.tolerance
            return lambda y0: solve(f, y0, t, rtol=tolerance, atol=tolerance, method="dopri5")[-1]

        return Contestant(name=f"torchdiffeq {solve.__name__}", build=build, against=against)

    if kind == "forward":
        return [contestant(torchdiffeq.odeint, "odevision, mean norm")]
    return [
        contestant(torchdiffeq.odeint, "odevision direct, mean norm"),
        contestant(torchdiffeq.odeint_adjoint, "odevision checkpointed, mean norm"),
    ]


def torchode_contestants(problem: Problem, kind: str, equal: str) -> list[Contestant]:
    """AutoDiffAdjoint, eager and scripted, and the joint continuous adjoint for gradients.

    Args:
        problem: what to solve.
        kind: forward or gradient.
        equal: how ours treats the samples where it is compared.
    """
    if importlib.util.find_spec("torchode") is None:
        print("torchode is left out: pip install --no-deps torchode torchtyping")
        return []
    torchode: Any = importlib.import_module("torchode")

    batch, device, tolerance = problem.y0.shape[0], problem.y0.device, problem.tolerance
    start = torch.zeros(batch, device=device)
    end = torch.full_like(start, problem.t1)

    def solver(adjoint: str, wrap: Wrap) -> nn.Module:
        term = torchode.ODETerm(wrap(problem.flat_field), with_stats=False)
        method = torchode.Dopri5(term=term)
        controller = torchode.IntegralController(atol=tolerance, rtol=tolerance, term=term)
        controller = controller.to(device)
        if adjoint != "AutoDiffAdjoint":
            return getattr(torchode, adjoint)(term, method, controller)
        # Without a gradient through the step sizes: its fastest setting, and ours.
        return torchode.AutoDiffAdjoint(
            method, controller, backprop_through_step_size_control=False
        )

    def solve(solver: Any) -> Solve:
        def solve(y0: Tensor) -> Tensor:
            ivp = torchode.InitialValueProblem(y0.flatten(1), start, end)
            return solver.solve(ivp).ys[:, -1].view(y0.shape)

        return solve

    def build(adjoint: str) -> Callable[[Wrap], Solve]:
        return lambda wrap: solve(solver(adjoint, wrap))

    def build_scripted(wrap: Wrap) -> Solve:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit.script is deprecated
            return solve(torch.jit.script(solver("AutoDiffAdjoint", wrap)))

    direct, plain = "odevision direct" if kind == "gradient" else "odevision", "AutoDiffAdjoint"
    found = [
        Contestant(name=f"torchode {plain}", build=build(plain), against=f"{direct}, {equal}"),
        Contestant(
            name=f"torchode {plain}, jit",
            build=build_scripted,
            build_counted=build(plain),
            against=f"{direct}, {equal}",
        ),
    ]
    if kind == "gradient":
        # BacksolveAdjoint keeps the gradient of all parameters once a sample, and is slower.
        joint = "JointBacksolveAdjoint"
        against = "odevision checkpointed, mean norm"
        found.append(Contestant(name=f"torchode {joint}", build=build(joint), against=against))
    return found


def scipy_contestants(problem: Problem, equal: str) -> list[Contestant]:
    """solve_ivp of the joined system around the torch and the NumPy field, and system by system."""
    shape, device, tolerance = problem.y0.shape, problem.y0.device, problem.tolerance

    def run(f: Any, y0: np.ndarray | list[float]) -> np.ndarray:
        solution = solve_ivp(
            f, (0.0, problem.t1), y0, method="RK45", rtol=tolerance, atol=tolerance
        )
        return solution.y[:, -1]

    def joined(y0: Tensor) -> np.ndarray:
        return y0.cpu().double().numpy().ravel()

    def around_torch(wrap: Wrap) -> Solve:
        field = wrap(problem.field)

        def f(t: float, y: np.ndarray) -> np.ndarray:
            state = torch.from_numpy(y.astype(np.float32)).view(shape).to(device)
            k = field(torch.full((), t, device=device), state)
            return k.cpu().numpy().ravel()

        return lambda y0: torch.from_numpy(run(f, joined(y0))).view(shape)

    def around_numpy(wrap: Wrap) -> Solve:
        f = wrap(problem.array_field)
        return lambda y0: torch.from_numpy(run(f, joined(y0))).view(shape)

    def one_by_one(wrap: Wrap) -> Solve:
        assert problem.array_field_of_one is not None
        fields = [wrap(problem.array_field_of_one(i)) for i in range(SYSTEMS_IN_LOOP)]

        def solve(y0: Tensor) -> Tensor:
            starts = y0[:SYSTEMS_IN_LOOP].cpu().double().tolist()
            ends = [run(f, start) for f, start in zip(fields, starts, strict=True)]
            return torch.from_numpy(np.stack(ends))

        return solve

    against = "odevision, mean norm"
    found = [Contestant(name="SciPy, torch field", build=around_torch, against=against)]
    if problem.array_field:
        found.append(Contestant(name="SciPy, NumPy field", build=around_numpy, against=against))
    if problem.array_field_of_one:
        found.append(
            Contestant(
                name=f"SciPy, a loop (from {SYSTEMS_IN_LOOP} systems)",
                build=one_by_one,
                against=f"odevision, {equal}",
                share=SYSTEMS_IN_LOOP / shape[0],
            )
        )
    return found
