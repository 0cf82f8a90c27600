"""Find the tensors beside y0 that a vector field's gradient must reach.

An autograd.Function only passes gradients to what it is given, so the checkpointed gradient has to know
the parameters, the arguments and the tensors that f closes over. They are collected in two ways: by
looking at what f holds, and by watching its first evaluation, which finds what no inspection can.
"""

import functools
import types
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from odevision.ode.solution import Stats
from odevision.ode.term import ODETerm, bind_args
from odevision.types import State, VectorField


def find_dependencies(
    vector_field: VectorField, args: Any, y0: State, t0: float
) -> list[Tensor]:
    """Tensors that require a gradient and that f(t, y, args) may use, each once.

    Modules are asked for their parameters and tensor attributes, functions for their closures and
    globals. Other callables are also evaluated once, uncounted, under a recorder; modules are not,
    because they may be compiled and because nothing but their own tensors should be in them.

    Args:
        vector_field: the user's callable.
        args: the user's arguments to it.
        y0: a state to evaluate it at.
        t0: a time to evaluate it at.
    """
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    _collect(vector_field, found, seen)
    _collect(args, found, seen)
    if not isinstance(vector_field, nn.Module):
        recorder = _Recorder(found)
        term = ODETerm(bind_args(vector_field, args), Stats())
        with torch.no_grad(), recorder:
            term(t0, y0.detach())
    return list(found.values())


def replace_tensors(value: Any, twins: dict[int, Tensor]) -> Any:
    """The same containers, with the tensors whose id is in `twins` exchanged."""
    if isinstance(value, Tensor):
        return twins.get(id(value), value)
    if isinstance(value, dict):
        return {key: replace_tensors(part, twins) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a NamedTuple
        return type(value)(*(replace_tensors(part, twins) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(replace_tensors(part, twins) for part in value)
    return value


class Substitute(TorchFunctionMode):
    """Exchanges tensors by identity wherever they enter a torch function.

    A closed-over tensor with a history of its own cannot be exchanged in f itself. Left as it is, its
    history would be walked, and counted, once a step.
    """

    def __init__(self, twins: dict[int, Tensor]) -> None:
        """Remember what to exchange for what."""
        super().__init__()
        self.twins = twins

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Call the function on the exchanged tensors."""
        return func(
            *replace_tensors(args, self.twins), **replace_tensors(kwargs or {}, self.twins)
        )


def _collect(value: Any, found: dict[int, Tensor], seen: set[int]) -> None:
    """Walk through modules, functions and containers; stop at everything else."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        if value.requires_grad:
            found[id(value)] = value
        return
    for part in _parts(value):
        _collect(part, found, seen)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, nn.Module):
        attributes = [vars(module).values() for module in value.modules()]
        return [*value.parameters(), *(x for group in attributes for x in group if _held(x))]
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        names = value.__code__.co_names
        used = [value.__globals__[name] for name in names if name in value.__globals__]
        return [*cells, *(value.__defaults__ or ()), *(x for x in used if _held(x))]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple):
        return value
    return ()


def _held(value: Any) -> bool:
    """Kinds that are worth following from an attribute or a global name."""
    return isinstance(value, Tensor | nn.Module | list | tuple | dict | types.FunctionType)


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  (reading an empty cell raises)
    except ValueError:
        return False
    return True


class _Recorder(TorchFunctionMode):
    """Notes every tensor with a gradient that enters a torch function.

    Under no_grad nothing that f makes requires a gradient, so whatever does came from outside.
    """

    def __init__(self, found: dict[int, Tensor]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        pending = [*args, *(kwargs or {}).values()]
        while pending:
            value = pending.pop()
            if isinstance(value, Tensor):
                if value.requires_grad:
                    self.found[id(value)] = value
            elif isinstance(value, list | tuple):
                pending.extend(value)
        return func(*args, **(kwargs or {}))
