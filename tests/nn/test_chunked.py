"""Backpropagation in chunks: the gradients of plain backpropagation, at the memory of a chunk."""

import copy
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from benchmarks.live_bytes import LiveBytes
from odevision.nn.chunked import advance_in_chunks
from odevision.nn.conv_gru import ConvGRUCell
from odevision.nn.gap_ode import GapODE
from odevision.nn.gru_ode import GRUODEField
from odevision.nn.ode_rnn import ODERNN
from odevision.types import Clips


class Memory(NamedTuple):
    maps: Tensor
    inside: tuple[Tensor, ()]
    count: Tensor


class Network(nn.Module):
    """An ODERNN over raw frames, with a state of several parts, one of them no number."""

    def __init__(self, gradient: str = "direct", num_steps: int | None = 1) -> None:
        super().__init__()
        solver = "midpoint" if num_steps else "heun"
        ode = GapODE(GRUODEField(6), solver=solver, num_steps=num_steps, gradient=gradient)
        self.layer = ODERNN(ConvGRUCell(2, 6), ode)
        self.unused = nn.Parameter(torch.zeros(()))
        self.calls: list[int] = []

    def start(self, batch: int = 2) -> Memory:
        maps = self.layer.initial_state(batch, 4, 5)
        return Memory(maps, (torch.zeros(batch, 6), ()), torch.zeros(batch, dtype=torch.long))

    def advance(self, state: Memory, clips: Clips) -> Memory:
        self.calls.append(clips.frames.shape[1])
        outputs, maps = self.layer(clips.frames, clips.seconds, clips.mask, state.maps)
        total = state.inside[0] + outputs.square().mean(dim=(3, 4)).sum(dim=1)
        return Memory(maps, (total, ()), state.count + clips.mask.sum(dim=1))

    def run(self, clips: Clips, chunk: int, **options: Any) -> Memory:
        start = self.start(len(clips.frames))
        return advance_in_chunks(
            self.advance, start, clips, chunk=chunk, parameters=self.parameters(), **options
        )


def clips(time: int = 16, batch: int = 2) -> Clips:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(batch, time, 2, 4, 5, generator=generator)
    seconds = torch.rand(batch, time, generator=generator)  # here the gaps
    return Clips(frames, seconds, torch.ones(batch, time, dtype=torch.bool))


def network(**options: Any) -> Network:
    torch.manual_seed(0)
    return Network(**options)


def loss_of(state: Memory) -> Tensor:
    return state.maps.square().sum() + state.inside[0].sin().sum()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_alike(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys() and ours
    for name, gradient in ours.items():
        assert (gradient - theirs[name]).norm() <= 1e-6 * theirs[name].norm(), name


@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "reversible"])
@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize(("chunk", "max_states"), [(1, 5), (1, 1), (2, 3), (3, 2), (5, 5), (15, 5)])
def test_gradients_are_those_of_plain_backpropagation(
    chunk: int, max_states: int, gradient: str, num_steps: int
) -> None:
    plain = network(gradient=gradient, num_steps=num_steps)
    chunked = copy.deepcopy(plain)
    whole = plain.run(clips(), chunk=16)
    loss_of(whole).backward()
    parts = chunked.run(clips(), chunk=chunk, max_states=max_states)
    assert torch.equal(whole.maps, parts.maps) and torch.equal(whole.count, parts.count)
    loss_of(parts).backward()
    assert_alike(gradients(chunked), gradients(plain))


def test_gradients_reach_the_first_state_and_the_frames() -> None:
    found = []
    for chunk in (16, 3):
        model, whole = network(), clips()
        start = model.start()._replace(maps=torch.full((2, 6, 4, 5), 0.1, requires_grad=True))
        frames = whole.frames.clone().requires_grad_()
        state = advance_in_chunks(
            model.advance,
            start,
            whole._replace(frames=frames),
            chunk=chunk,
            parameters=model.parameters(),
        )
        loss_of(state).backward()
        found.append({"state": start.maps.grad, "frames": frames.grad})
    assert all(found[0]["frames"][:, i].any() for i in range(16))
    assert_alike(found[1], found[0])


def test_a_loss_on_one_part_of_the_state_only_has_its_gradient_too() -> None:
    found = []
    for chunk in (16, 3):
        model = network()
        model.run(clips(), chunk=chunk).maps.sum().backward()
        found.append(gradients(model))
    assert_alike(found[1], found[0])


def test_gradients_under_autocast_are_those_of_plain_backpropagation_under_it() -> None:
    found = []
    for chunk in (16, 3):
        model = network()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model.run(clips(), chunk=chunk))
        loss.backward()
        found.append(gradients(model))
    for name, plain in found[0].items():
        assert (found[1][name] - plain).norm() <= 2e-2 * plain.norm(), name


def test_a_graph_that_is_kept_can_be_pulled_back_twice() -> None:
    model = network()
    loss = loss_of(model.run(clips(), chunk=2))
    loss.backward(retain_graph=True)
    once = {name: g.clone() for name, g in gradients(model).items()}
    loss.backward()
    assert_alike({name: g / 2 for name, g in gradients(model).items()}, once)


def test_a_second_derivative_is_refused() -> None:
    model = network()
    loss = loss_of(model.run(clips(), chunk=4))
    with pytest.raises(ValueError, match="`chunk` must be None"):
        torch.autograd.grad(loss, list(model.layer.parameters()), create_graph=True)


def test_frozen_parameters_get_no_gradient() -> None:
    model = network()
    model.layer.cell.requires_grad_(False)
    loss_of(model.run(clips(), chunk=4)).backward()
    assert {name.split(".")[1] for name in gradients(model)} == {"evolve"}


def test_without_gradients_every_chunk_is_advanced_over_once() -> None:
    model = network()
    with torch.no_grad():
        state = model.run(clips(17), chunk=5)
    assert model.calls == [5, 5, 5, 2]
    assert not state.maps.requires_grad


@pytest.mark.parametrize(("num_chunks", "most"), [(2, 2), (5, 2), (8, 3), (32, 4)])
def test_the_work_of_repeating_stays_within_bounds(num_chunks: int, most: int) -> None:
    model = network()
    state = model.run(clips(num_chunks), chunk=1)
    assert len(model.calls) == num_chunks
    loss_of(state).backward()
    assert num_chunks < len(model.calls) <= most * num_chunks


def test_evaluations_are_counted_once_forward_and_as_often_as_repeated_backward() -> None:
    model = network()
    loss = loss_of(model.run(clips(8)._replace(seconds=torch.ones(2, 8)), chunk=2))
    stats = model.layer.evolve.last_stats
    assert (stats.nfe_forward, stats.nfe_backward) == (16, 0)
    loss.backward()
    stats = model.layer.evolve.last_stats
    assert stats.nfe_forward == 16
    assert stats.nfe_backward == 2 * sum(model.calls[4:])


def peak(model: Network, time: int, chunk: int) -> int:
    whole = clips(time)
    with LiveBytes([*whole, *model.parameters()]) as live:
        loss_of(model.run(whole, chunk=chunk)).backward()
    model.zero_grad()
    return live.most


@pytest.mark.parametrize(
    ("gradient", "times"),
    [("direct", (16, 64, 256)), ("checkpointed", (16, 64)), ("reversible", (16, 64))],
)
def test_memory_does_not_grow_with_the_frames(gradient: str, times: tuple[int, ...]) -> None:
    model = network(gradient=gradient)
    chunked = [peak(model, time, chunk=8) for time in times]
    assert max(chunked) <= 1.1 * min(chunked), chunked
    plain = [peak(model, time, chunk=256) for time in (16, 64)]
    assert plain[1] > 3 * plain[0], plain
    assert chunked[0] < plain[0]


@pytest.mark.parametrize("name", ["chunk", "max_states"])
def test_values_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
        network().run(clips(), **{"chunk": 4, name: 0})
