"""Exact backpropagation through a long clip in chunks: memory that does not grow with its length.

Plain backpropagation keeps the feature maps of every frame. Here the way forward leaves a few
states between chunks of frames and no graph. The way back makes one chunk after the other again,
from the last to the first, each with its graph. The gradients are the same.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from odevision.gradient.method import graph_stays
from odevision.gradient.schedule import next_stop, stops
from odevision.gradient.sweep import autocast_state
from odevision.nn.gap_ode import recomputing
from odevision.types import Clips

Advance = Callable[[Any, Clips], Any]
"""advance(state, clips) -> state after these frames; states are nested tuples of tensors."""


def advance_in_chunks(
    advance: Advance,
    state: Any,
    clips: Clips,
    *,
    chunk: int,
    parameters: Iterable[nn.Parameter],
    max_states: int = 5,
) -> Any:
    """Advance over all frames, with the graph of one chunk at a time.

    Where there are more chunks than states may be kept, some are made again from an earlier state,
    by the binomial schedule, which repeats the fewest. With 5 states a clip of up to 5 chunks is
    advanced over twice in all, one of 32 chunks 3.2 times on average, one of 64 chunks 3.8 times.

    Args:
        advance: what to do with frames. It may draw nothing at random, and change nothing but what
            it returns.
        state: before the first frame.
        clips: the frames.
        chunk: frames a chunk, at least 1; a clip of no more is advanced over as it is.
        parameters: all that gradients are to reach, beside `state` and `clips`.
        max_states: most states to keep at once, at least 1.

    Returns:
        The state after the last frame.

    Raises:
        ValueError: `chunk` or `max_states` is below 1.
    """
    for name, value in (("chunk", chunk), ("max_states", max_states)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}. Try 8.")
    num_frames = clips.frames.shape[1]
    if num_frames <= chunk:
        return advance(state, clips)
    plan = _Plan(advance, state, num_frames, chunk, max_states)
    if not torch.is_grad_enabled():
        return plan.walk(state, 0, plan.num_chunks, clips)
    trained = [p for p in parameters if p.requires_grad]
    return plan.nested(_Chunked.apply(plan, *clips, *plan.flat(state), *trained))


class _Plan:
    """The chunks of a clip, and how a state becomes a list of tensors and back."""

    def __init__(
        self, advance: Advance, state: Any, num_frames: int, chunk: int, max_states: int
    ) -> None:
        self.advance, self.chunk, self.max_states = advance, chunk, max_states
        self.num_chunks = -(-num_frames // chunk)
        leaves, self.structure = pytree.tree_flatten(state)
        self.num_leaves = len(leaves)

    def flat(self, state: Any) -> list[Tensor]:
        return pytree.tree_leaves(state)

    def nested(self, leaves: Sequence[Tensor]) -> Any:
        return pytree.tree_unflatten(list(leaves), self.structure)

    def part(self, clips: Sequence[Tensor], index: int) -> list[Tensor]:
        """Views of the frames of a chunk."""
        start = index * self.chunk
        return [tensor[:, start : start + self.chunk] for tensor in clips]

    def walk(
        self,
        state: Any,
        start: int,
        stop: int,
        clips: Sequence[Tensor],
        keep: Collection[int] = (),
        kept: dict[int, Any] | None = None,
    ) -> Any:
        """From the state before chunk `start` to that before `stop`; puts some into `kept`."""
        for index in range(start, stop):
            if kept is not None and index in keep:
                kept[index] = state
            state = self.advance(state, Clips(*self.part(clips, index)))
        return state

    def next_stops(self, start: int, index: int, num_kept: int) -> list[int]:
        """Where to keep a state on the way from a kept one, before `start`, to before `index`."""
        places = []
        while start < index and num_kept + len(places) < self.max_states:
            room = min(self.max_states - num_kept - len(places), index + 1 - start)
            start += next_stop(index + 1 - start, room)
            places.append(start)
        return places


class _Chunked(torch.autograd.Function):
    """Advance without a graph; make the chunks again on the way back."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *inputs: Tensor) -> tuple[Tensor, ...]:
        clips, leaves = inputs[:3], inputs[3 : 3 + plan.num_leaves]
        ctx.plan, ctx.kept = plan, {}
        keep = stops(plan.num_chunks, plan.max_states)[1:]
        end = plan.walk(plan.nested(leaves), 0, plan.num_chunks, clips, keep, ctx.kept)
        _forget_casts(clips[0])
        ctx.autocast = autocast_state(clips[0].device.type)
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)
        # What only passed through is an input or kept, and a view cannot be changed in place.
        own = {id(x) for x in (*inputs, *pytree.tree_leaves(ctx.kept))}
        outputs = [x.clone() if id(x) in own or x._is_view() else x for x in plan.flat(end)]
        ctx.mark_non_differentiable(*(x for x in outputs if not x.is_floating_point()))
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *lams: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise ValueError(
                "`chunk` must be None where a gradient is to be differentiated again "
                "(create_graph=True)."
            )
        plan: _Plan = ctx.plan
        clips, others = ctx.saved_tensors[:3], ctx.saved_tensors[3:]
        leaves, theta = others[: plan.num_leaves], others[plan.num_leaves :]
        # Kept for a second way back where that may be asked for, else let go one by one.
        kept = dict(ctx.kept) if graph_stays() else ctx.kept
        kept[0] = plan.nested([x.detach() for x in leaves])
        way = _WayBack(plan, ctx.autocast, clips, theta, ctx.needs_input_grad[1:4])
        lam = list(lams)
        for index in reversed(range(plan.num_chunks)):
            start = max(kept)  # those behind the chunk are gone
            places = plan.next_stops(start, index, len(kept))
            with torch.no_grad(), way.repeating():
                state = plan.walk(kept[start], start, index, clips, places, kept)
            kept.pop(index, None)
            lam = way.pull(index, state, lam)
        return None, *way.clip_gradients, *lam, *way.gradients


class _WayBack:
    """Pulls dL/dstate through one chunk after the other, and gathers the other gradients."""

    def __init__(
        self,
        plan: _Plan,
        autocast: dict[str, Any],
        clips: Sequence[Tensor],
        theta: Sequence[Tensor],
        needs_clips: Sequence[bool],
    ) -> None:
        self.plan, self.autocast, self.clips, self.theta = plan, autocast, clips, theta
        self.gradients: list[Tensor | None] = [None] * len(theta)
        self.clip_gradients = [
            torch.zeros_like(x) if needed else None
            for x, needed in zip(clips, needs_clips, strict=True)
        ]

    @contextlib.contextmanager
    def repeating(self) -> Iterator[None]:
        """Where frames are advanced over again, counted as such, under the caller's autocast."""
        try:
            with recomputing(), torch.autocast(**self.autocast):
                yield
        finally:
            _forget_casts(self.clips[0])

    def pull(self, index: int, state: Any, lam: list[Tensor | None]) -> list[Tensor | None]:
        """dL/dstate before a chunk, from that behind it."""
        plan = self.plan
        leaves = [_leaf(x) for x in plan.flat(state)]
        parts = [
            x if gradient is None else _leaf(x)
            for x, gradient in zip(plan.part(self.clips, index), self.clip_gradients, strict=True)
        ]
        with torch.enable_grad(), self.repeating():
            after = plan.flat(plan.advance(plan.nested(leaves), Clips(*parts)))
        pairs = [(x, g) for x, g in zip(after, lam, strict=True) if g is not None]
        pairs = [(x, g) for x, g in pairs if x.requires_grad]
        if not pairs:
            return [None] * len(leaves)
        outputs, lams = zip(*pairs, strict=True)
        wanted = [x for x in (*leaves, *parts, *self.theta) if x.requires_grad]
        pulled = torch.autograd.grad(outputs, wanted, lams, allow_unused=True)
        found = dict(zip(map(id, wanted), pulled, strict=True))
        for gradient, part in zip(self.clip_gradients, parts, strict=True):
            if gradient is not None and (new := found[id(part)]) is not None:
                plan.part([gradient], index)[0].copy_(new)
        for i, x in enumerate(self.theta):
            total, new = self.gradients[i], found[id(x)]
            if new is not None:  # a copy first: autograd may hand out one tensor twice
                self.gradients[i] = new.clone() if total is None else total.add_(new)
        return [found.get(id(x)) for x in leaves]


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_() if x.is_floating_point() else x


def _forget_casts(like: Tensor) -> None:
    """Weights cast without a graph must not be served to code that needs one."""
    if torch.is_autocast_enabled(like.device.type):
        torch.clear_autocast_cache()
