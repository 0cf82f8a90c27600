"""Find the tensors beside y0 that a vector field's gradient must reach.

An autograd.Function only passes gradients to what it is given, so the checkpointed gradient has to
know the parameters, the arguments and the tensors that f closes over. They are collected in two
ways: by looking at what f holds, and by watching its first evaluation, which finds what no
inspection can.
"""

import copy
import functools
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from odevision.types import VectorField


class Dependencies:
    """Tensors that require a gradient and that f(t, y, args) may use, each once.

    Modules are asked for their parameters and tensor attributes, functions for their closures and
    globals. A tensor with a history of its own that f holds may be a leftover of an earlier call,
    such as an activation kept for a look at it; it counts only once f was seen to use it.

    Args:
        vector_field: the user's callable.
        args: the user's arguments to it.

    Attributes:
        found: what gradients flow to, by id.
        unconfirmed: held by f, with a history, and not seen in use so far, by id.
        watches: f's first evaluation may find more.
    """

    def __init__(self, vector_field: VectorField, args: Any) -> None:
        """Inspect f and its arguments."""
        held: dict[int, Tensor] = {}
        self._is_module = isinstance(vector_field, nn.Module)
        self.watches = not _is_compiled(vector_field)
        _collect_field(vector_field, held)
        passed: dict[int, Tensor] = {}
        _collect(args, passed, set(), _MOST_DEPTH)
        # Objects among the arguments are handed on as they are, as if f held what is in them.
        inside: dict[int, Tensor] = {}
        _collect(args, inside, set())
        held.update((i, x) for i, x in inside.items() if i not in passed)
        self.unconfirmed = {i: x for i, x in held.items() if not x.is_leaf}
        self.found = {i: x for i, x in held.items() if x.is_leaf}
        self.found.update(passed)
        self._only_passed = set(passed) - set(held)

    def __bool__(self) -> bool:
        """Whether any tensor may need a gradient."""
        return bool(self.found or self.unconfirmed)

    def watch(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """The same f, with a recorder around its first call, and on while leftovers are in doubt.

        Compiled modules are left alone unless something is in doubt.
        """
        if not (self.watches or self.unconfirmed):
            return f
        first = True

        def watched(t: Tensor, y: Tensor, *args: Any) -> Any:
            nonlocal first
            if not (first or self.unconfirmed):
                return f(t, y, *args)
            first = False
            with _Recorder(self, made={id(t), id(y)}):
                return f(t, y, *args)

        return watched

    def note(self, x: Tensor) -> None:
        """Count a tensor that f was seen to use."""
        self.found[id(x)] = x
        self.unconfirmed.pop(id(x), None)

    def beyond_args(self, ids: Iterable[int]) -> bool:
        """Whether f may reach some of these tensors in another way than through its arguments."""
        return any(not self._is_module or i not in self._only_passed for i in ids)


def replace_tensors(value: Any, twins: dict[int, Tensor]) -> Any:
    """The same containers, with the tensors whose id is in `twins` exchanged."""
    if isinstance(value, Tensor):
        return twins.get(id(value), value)
    if isinstance(value, dict):
        parts = {key: replace_tensors(part, twins) for key, part in value.items()}
        if type(value) is dict:
            return parts
        same_kind = copy.copy(value)
        same_kind.update(parts)
        return same_kind
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a NamedTuple
        return type(value)(*(replace_tensors(part, twins) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(replace_tensors(part, twins) for part in value)
    return value


class Substitute(TorchFunctionMode):
    """Exchanges tensors by identity wherever they enter a torch function.

    A closed-over tensor with a history of its own cannot be exchanged in f itself. Left as it is,
    its history would be walked, and counted, once a step.
    """

    def __init__(self, twins: dict[int, Tensor]) -> None:
        """Remember what to exchange for what."""
        super().__init__()
        self.twins = twins

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Call the function on the exchanged tensors."""
        return func(*replace_tensors(args, self.twins), **replace_tensors(kwargs or {}, self.twins))


def refuse_histories(outputs: Iterable[Tensor], cut_off: Iterable[Tensor]) -> None:
    """Raise where a step's graph runs into the history of a tensor that f closes over.

    `Substitute` cuts such histories off, but custom autograd functions take their inputs past it:
    the gradient would be lost or counted twice without a word.

    Args:
        outputs: what a repeated step made.
        cut_off: the tensors in question; those without a history do not count.

    Raises:
        ValueError: one of them was reached.
    """
    histories: set[Any] = {x.grad_fn for x in cut_off} - {None}
    pending: list[Any] = [x.grad_fn for x in outputs] if histories else []
    seen = set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        if node in histories:
            raise ValueError(
                "`vector_field` must not hand a computed tensor that it closes over to a custom "
                "autograd function: the checkpointed gradient cannot follow it there, got one made "
                f"by {node.name()}. Try to pass it in `args`, or gradient='direct'."
            )
        seen.add(node)
        pending.extend(parent for parent, _ in node.next_functions)


def _collect_field(vector_field: VectorField, found: dict[int, Tensor]) -> None:
    """Collect from f itself: a callable object is opened, here and nowhere else."""
    seen: set[int] = set()
    _collect(vector_field, found, seen)
    owner = getattr(vector_field, "__self__", vector_field)
    if not isinstance(owner, nn.Module | type | types.FunctionType) and hasattr(owner, "__dict__"):
        _collect(vars(type(owner)).get("__call__"), found, seen)
        for part in vars(owner).values():
            if _held(part):
                _collect(part, found, seen)


def _collect(value: Any, found: dict[int, Tensor], seen: set[int], depth: int = 0) -> None:
    """Walk through modules, functions, containers and a few plain objects inside each other."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        if value.requires_grad:
            found[id(value)] = value
        return
    if _is_plain_object(value):
        depth += 1
    for part in _parts(value) if depth <= _MOST_DEPTH else ():
        _collect(part, found, seen, depth)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, nn.Module):
        attributes = [vars(module).values() for module in value.modules()]
        forwards = {type(module).forward for module in value.modules()}
        held = (x for group in attributes for x in group if _held(x))
        return [*value.parameters(), *held, *forwards]
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, types.FunctionType):
        if (value.__module__ or "").startswith(
            "torch."
        ):  # long walks through nothing of the user's
            return ()
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        names = value.__code__.co_names
        used = [value.__globals__[name] for name in names if name in value.__globals__]
        return [*cells, *(value.__defaults__ or ()), *(x for x in used if _held(x))]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, dict):
        return [x for x in value.values() if not isinstance(x, _PLAIN)]
    if isinstance(value, list | tuple):
        return [x for x in value if not isinstance(x, _PLAIN)]
    return [x for x in vars(value).values() if _held(x)] if _is_plain_object(value) else ()


_PLAIN = (int, float, complex, str, bytes, type(None))
"""Hold no tensor; there may be many of them."""

_MOST_DEPTH = 3
"""Plain objects inside each other that are opened, at every solve."""

_KNOWN_MODULES = sys.stdlib_module_names | {"torch", "numpy", "odevision"}


def _is_plain_object(value: Any) -> bool:
    """Whether it is of a class of the user's, whose attributes may hold tensors."""
    if isinstance(value, Tensor | nn.Module | type) or not hasattr(value, "__dict__"):
        return False
    home = type(value).__module__.partition(".")[0]
    return isinstance(value, types.SimpleNamespace) or home not in _KNOWN_MODULES


def _held(value: Any) -> bool:
    """Kinds that are worth following from an attribute or a global name."""
    kinds = Tensor | nn.Module | list | tuple | dict | types.FunctionType
    return isinstance(value, kinds) or _is_plain_object(value)


def _is_compiled(value: Any) -> bool:
    """Whether torch.compile made f or a part of it: a watched call would be compiled anew."""
    if not isinstance(value, nn.Module):
        return False
    return any(
        part._compiled_call_impl is not None or type(part).__name__ == "OptimizedModule"
        for part in value.modules()
    )


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  (reading an empty cell raises)
    except ValueError:
        return False
    return True


class _Recorder(TorchFunctionMode):
    """Notes every tensor with a gradient that enters a torch function and was not made by one.

    The forward pass runs under no_grad, but f may switch gradients on for itself: a field that is
    the gradient of an energy makes tensors with a history of its own, and they are no dependencies.
    """

    def __init__(self, dependencies: Dependencies, made: set[int]) -> None:
        super().__init__()
        self.dependencies, self.made = dependencies, made

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        for x in _tensors([args, kwargs or {}]):
            if x.requires_grad and id(x) not in self.made:
                self.dependencies.note(x)
        result = func(*args, **(kwargs or {}))
        self.made.update(id(x) for x in _tensors(result) if id(x) not in self.dependencies.found)
        return result


def _tensors(value: Any) -> list[Tensor]:
    """The tensors in nested containers."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [x for part in value for x in _tensors(part)]
    return []
