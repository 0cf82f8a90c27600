"""What the gradients keep for the way back, and when they let it go."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from cases import drawn, module
from problems import DOUBLE
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from odevision import odesolve
from odevision.gradient import GRADIENTS, Checkpointed, Reversible
from odevision.gradient.bytes_held import graph_bytes
from odevision.ode.controller import PIDController

EXACT = [name for name, gradient in GRADIENTS.items() if gradient.accuracy == "exact"]


class SavedBytes:
    """Counts the bytes that autograd saves while it is active: now and at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda kept: kept.tensor)

    def _pack(self, tensor: Tensor) -> "_Kept":
        return _Kept(tensor, self)

    def __enter__(self) -> "SavedBytes":
        self.hooks.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        self.hooks.__exit__(*exception)


class _Kept:
    def __init__(self, tensor: Tensor, count: SavedBytes) -> None:
        self.tensor, self.count = tensor.detach(), count
        count.now += tensor.nbytes
        count.most = max(count.most, count.now)

    def __del__(self) -> None:
        self.count.now -= self.tensor.nbytes


def graph_nodes(y: Tensor) -> list[str]:
    names, pending, seen = [], [y.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names.append(node.name())
        pending.extend(parent for parent, _ in node.next_functions)
    return names


class States:
    """The states at which a field is evaluated, and how many of them live."""

    def __init__(self) -> None:
        self.seen: list[StorageWeakRef] = []

    def field(self, t: Tensor, y: Tensor) -> Tensor:
        self.seen.append(StorageWeakRef(y.untyped_storage()))
        return torch.sin(3 * y)

    @property
    def alive(self) -> int:
        living = {ref.cdata for ref in self.seen if not ref.expired()}
        return len(living - {self.seen[0].cdata})  # autograd keeps y0


class Noted(States):
    """Also how many of the states that the forward pass met live at each later evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.course: list[int] = []
        self.forward = True

    def field(self, t: Tensor, y: Tensor) -> Tensor:
        if self.forward:
            return super().field(t, y)
        self.course.append(self.alive)
        return torch.sin(3 * y)


@pytest.mark.parametrize("num_steps", [1, 5, 20])
def test_checkpointed_keeps_one_state_a_step(num_steps: int) -> None:
    case = module()
    solution = odesolve(case.vector_field, case.y0, 0, 1, solver="dopri5", num_steps=num_steps)
    assert solution.stats.bytes_held == num_steps * case.y0.nbytes
    assert graph_nodes(solution.y1).count("torch::autograd::AccumulateGrad") == len(case.wanted)


def test_checkpointed_gives_autograd_nothing_but_y0_and_what_f_depends_on() -> None:
    case = module()
    with SavedBytes() as saved:
        y1 = odesolve(case.vector_field, case.y0, 0, 1, num_steps=20).y1
        assert saved.now == sum(x.nbytes for x in case.wanted)
    assert graph_bytes([y1], case.wanted) == 0


@pytest.mark.parametrize("num_steps", [1, 5, 20])
def test_the_states_of_checkpointed_are_all_that_lives_after_the_forward_pass(num_steps) -> None:
    # An Euler step evaluates f at the very state it starts from; autograd keeps y0 itself.
    states = States()
    y1 = odesolve(states.field, drawn(2, 3), 0, 1, solver="euler", num_steps=num_steps).y1
    assert len(states.seen) == num_steps and states.alive == num_steps - 1
    del y1
    assert states.alive == 0


def test_checkpointed_lets_its_states_go_one_by_one_on_the_way_back() -> None:
    states, y0 = Noted(), drawn(2, 3)
    y1 = odesolve(states.field, y0, 0, 1, solver="euler", num_steps=6).y1
    states.forward = False
    y1.sum().backward()
    assert states.course == [5, 4, 3, 2, 1, 0]


def test_checkpointed_keeps_its_states_where_the_graph_is_kept() -> None:
    states, y0 = Noted(), drawn(2, 3)
    y1 = odesolve(states.field, y0, 0, 1, solver="euler", num_steps=6).y1
    states.forward = False
    y1.sum().backward(retain_graph=True)
    assert states.course == [5] * 6 and states.alive == 5
    y1.sum().backward()
    assert states.alive == 0


@pytest.mark.parametrize("solver", ["leapfrog", "reversible-heun", "euler", "rk4"])
def test_reversible_keeps_no_state_but_its_end(solver: str) -> None:
    held = []
    for num_steps in (4, 40):
        states = States()
        solution = odesolve(
            states.field, drawn(2, 3), 0, 1, solver=solver, num_steps=num_steps,
            gradient="reversible",
        )  # fmt: skip
        held.append(solution.stats.bytes_held)
        assert states.alive <= 1  # reversible Heun's second solution
    assert held[0] == held[1] <= 3 * drawn(2, 3).nbytes


@pytest.mark.parametrize("every, anchors", [(1, 11), (3, 3), (4, 2), (12, 0)])
def test_reversible_keeps_a_pair_of_states_an_anchor(every: int, anchors: int) -> None:
    y0 = drawn(2, 3)
    solution = odesolve(
        torch_sin, y0, 0, 1, solver="leapfrog", num_steps=12,
        gradient=Reversible(anchor_every=every),
    )  # fmt: skip
    assert solution.stats.bytes_held == (anchors + 1) * 2 * y0.nbytes


def test_checkpointed_never_holds_the_graph_of_more_than_one_step() -> None:
    most = []
    for num_steps in (1, 4, 40):
        case = module()
        y1 = odesolve(case.vector_field, case.y0, 0, 1, solver="rk4", num_steps=num_steps).y1
        with SavedBytes() as saved:
            y1.sum().backward()
        most.append(saved.most)
        assert saved.now == 0
    assert most[0] == most[1] == most[2] > 0


@pytest.mark.parametrize(
    "gradient, solver",
    [
        (Checkpointed(max_states=3), "rk4"),
        (Checkpointed(graph="stage"), "rk4"),
        (Reversible(), "leapfrog"),
        (Reversible(), "reversible-heun"),
        (Reversible(), "rk4"),
        (Reversible(anchor_every=2), "dopri5"),
    ],
    ids=repr,
)
def test_the_graphs_on_the_way_back_do_not_grow_with_the_steps(gradient, solver: str) -> None:
    most = [graph_bytes_on_the_way_back(gradient, solver, n) for n in (4, 8, 40)]
    assert most[0] == most[1] == most[2] > 0


@pytest.mark.parametrize("solver, stages", [("rk4", 4), ("dopri8", 12)])
def test_the_graph_of_a_stage_is_a_part_of_that_of_a_step(solver: str, stages: int) -> None:
    step = graph_bytes_on_the_way_back(Checkpointed(), solver, 3)
    stage = graph_bytes_on_the_way_back(Checkpointed(graph="stage"), solver, 3)
    assert stages * stage <= 1.05 * step


def graph_bytes_on_the_way_back(gradient, solver: str, num_steps: int) -> int:
    case = module()
    options = {"solver": solver, "num_steps": num_steps, "gradient": gradient}
    y1 = odesolve(case.vector_field, case.y0, 0, 1, **options).y1
    with SavedBytes() as saved:
        y1.sum().backward()
    assert saved.now == 0
    return saved.most


def test_direct_keeps_the_graph_of_every_step() -> None:
    most = []
    for num_steps in (4, 40):
        case = module()
        with SavedBytes() as saved:
            y1 = odesolve(
                case.vector_field,
                case.y0,
                0,
                1,
                solver="rk4",
                num_steps=num_steps,
                gradient="direct",
            ).y1
            most.append(saved.now)
            del y1
    assert most[1] > 9 * most[0]


def test_a_rejected_step_leaves_nothing_in_the_graph() -> None:
    y0 = drawn(2, 3)
    controller = PIDController(dt0=1.0, rtol=1e-6, atol=1e-7)
    solution = odesolve(
        lambda t, y: torch.sin(3 * y),
        y0,
        0,
        1,
        solver="dopri5",
        controller=controller,
        gradient="direct",
    )
    assert solution.stats.num_rejected_steps > 0
    # Six evaluations make an accepted step; a last one, f(t1, y1), serves the error estimate only.
    evaluations = graph_nodes(solution.y1).count("SinBackward0")
    assert evaluations == 6 * solution.stats.num_accepted_steps


@pytest.mark.parametrize("solver", ["bosh3", "dopri5", "tsit5"])
def test_checkpointed_keeps_no_state_of_a_rejected_step(solver: str) -> None:
    y0, states = drawn(2, 3), States()
    controller = PIDController(dt0=1.0, rtol=1e-6, atol=1e-7)
    solution = odesolve(states.field, y0, 0, 1, solver=solver, controller=controller)
    accepted = solution.stats.num_accepted_steps
    assert solution.stats.num_rejected_steps > 0
    assert solution.stats.bytes_held == accepted * y0.nbytes
    # The last stage of an attempt stands at its end: all starts but y0 are such ends.
    assert states.alive == accepted - 1


@pytest.mark.parametrize("gradient", list(GRADIENTS))
def test_nothing_is_recorded_under_no_grad(gradient) -> None:
    case = module()
    with SavedBytes() as saved, torch.no_grad():
        y1 = odesolve(case.vector_field, case.y0, 0, 1, num_steps=3, gradient=gradient).y1
    assert saved.most == 0 and not y1.requires_grad


@pytest.mark.parametrize("gradient", list(GRADIENTS))
def test_nothing_is_recorded_where_nothing_requires_a_gradient(gradient) -> None:
    y0 = torch.ones(2, 3, dtype=DOUBLE)
    with SavedBytes() as saved:
        y1 = odesolve(lambda t, y: -y, y0, 0, 1, gradient=gradient).y1
    assert saved.most == 0 and not y1.requires_grad


@pytest.mark.parametrize("gradient", EXACT)
def test_saved_states_are_views_of_nothing_that_the_caller_may_break(gradient) -> None:
    y0 = drawn(2, 3)
    solution = odesolve(torch_sin, y0, 0, 1, num_steps=3, save_at=[0, 0.5, 1], gradient=gradient)
    with torch.no_grad():
        solution.ys.zero_()
    solution.y1.sum().backward()
    assert y0.grad is not None and bool((y0.detach() != 0).all())


def torch_sin(t: Tensor, y: Tensor) -> Tensor:
    return torch.sin(y)


def test_what_direct_holds_is_counted_while_the_graph_lives() -> None:
    case = module()
    options = {"solver": "rk4", "num_steps": 5, "gradient": "direct"}
    solution = odesolve(case.vector_field, case.y0, 0, 1, **options)
    held = graph_bytes([solution.y1], [case.y0])
    stats = solution.stats
    assert stats.bytes_held == held > 0
    assert pickle.loads(pickle.dumps(stats)).bytes_held == copy.deepcopy(stats).bytes_held == held
    solution.y1.sum().backward()
    assert stats.bytes_held is None  # used up


def test_statistics_keep_no_graph() -> None:
    case = module()
    options = {"solver": "rk4", "num_steps": 5, "gradient": "direct"}
    solution = odesolve(case.vector_field, case.y0, 0, 1, **options)
    stats, end = solution.stats, weakref.ref(solution.y1)
    del solution
    gc.collect()
    assert end() is None
    assert stats.bytes_held is None


def test_nothing_is_held_where_nothing_needs_a_gradient() -> None:
    y0 = drawn(2, 3, leaf=False)
    for gradient in ("direct", "checkpointed"):
        with torch.no_grad():
            assert odesolve(lambda t, y: -y, y0, 0, 1, gradient=gradient).stats.bytes_held == 0
