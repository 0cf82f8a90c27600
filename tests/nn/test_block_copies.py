"""ODE blocks inside of larger modules: copied, saved, sent away, trained in several processes."""

import copy
import io
import pickle

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from odevision import ODEBlock

each_gradient = pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
STEPS = {"fixed": {"num_steps": 3}, "adaptive": {"rtol": 1e-4, "atol": 1e-5}}
each_stepping = pytest.mark.parametrize("stepping", list(STEPS))


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.linear(y)) * (1 + t)


class Network(nn.Module):
    def __init__(self, gradient: str, stepping: str) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 3)
        self.block = ODEBlock(Field(), gradient=gradient, **STEPS[stepping])
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.stem(x)))


def make(gradient: str = "checkpointed", stepping: str = "adaptive") -> Network:
    torch.manual_seed(0)
    return Network(gradient, stepping)


def batch() -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


def gradients(network: nn.Module, x: Tensor) -> list[Tensor]:
    network.zero_grad()
    network(x).square().mean().backward()
    return [p.grad.clone() for p in network.parameters()]


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
}


@pytest.mark.parametrize("how", list(COPIES))
@pytest.mark.parametrize("used", [False, True])
@each_gradient
@each_stepping
def test_a_copy_gives_the_same_answers_and_gradients(how, used: bool, gradient, stepping) -> None:
    network = make(gradient, stepping)
    if used:  # the statistics of a solve travel with it
        gradients(network, batch())
    twin = COPIES[how](network)
    for ours, theirs in zip(gradients(twin, batch()), gradients(network, batch()), strict=True):
        assert torch.equal(ours, theirs)
    if used:
        assert twin.block.last_stats == network.block.last_stats


def test_a_copy_shares_nothing_with_its_original() -> None:
    network = make()
    before = gradients(network, batch())
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(1.0)
    twin(batch())
    for ours, theirs in zip(gradients(network, batch()), before, strict=True):
        assert torch.equal(ours, theirs)


def test_a_whole_module_may_be_saved_and_its_weights_alone_too() -> None:
    network, file = make(), io.BytesIO()
    gradients(network, batch())
    torch.save(network, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(batch()), network(batch()))
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other = Network("direct", "adaptive")
    other.load_state_dict(torch.load(file))
    torch.testing.assert_close(other(batch()), network(batch()))


def distributed(rank: int, world: int, store: str, gradient: str, stepping: str) -> None:
    """Train on a share of the batch; every process checks the averaged gradient."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    try:
        network, x = make(gradient, stepping), batch()
        expected = [
            sum(parts) / world
            for parts in zip(*(gradients(network, part) for part in x.chunk(world)), strict=True)
        ]
        parallel = DistributedDataParallel(make(gradient, stepping))
        for _ in range(2):
            for ours, theirs in zip(
                gradients(parallel, x.chunk(world)[rank]), expected, strict=True
            ):
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    finally:
        dist.destroy_process_group()


@each_gradient
@each_stepping
def test_distributed_training_with_one_process(tmp_path, gradient, stepping) -> None:
    distributed(0, 1, str(tmp_path / "store"), gradient, stepping)


def _both(rank: int, store: str) -> None:
    for i, (gradient, stepping) in enumerate([("checkpointed", "adaptive"), ("direct", "fixed")]):
        distributed(rank, 2, f"{store}{i}", gradient, stepping)


@pytest.mark.slow
def test_two_processes_average_their_gradients(tmp_path) -> None:
    torch.multiprocessing.spawn(_both, args=(str(tmp_path / "store"),), nprocs=2)
