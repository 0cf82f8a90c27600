import dataclasses

import pytest
import torch
from torch import Tensor, nn

from odevision import ODEBlock, create_model
from odevision.evaluation.backward_bytes import SavedBytes
from odevision.evaluation.benchmark import benchmark_model, recommend, whole_pass
from odevision.evaluation.compare_gradients import (
    CONTESTANTS,
    BlockBenchmark,
    Cost,
    Row,
    benchmark_block,
    setting_of,
)
from odevision.gradient import Backsolve, Checkpointed, Direct, Reversible
from odevision.gradient.bytes_held import graph_bytes
from odevision.ode.solution import SolveError

NAMES = list(CONTESTANTS)


class Field(nn.Module):
    """Smooth: rounding meets no kink."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.conv(y)) * (1 + t)


def block(**settings) -> ODEBlock:
    torch.manual_seed(0)
    return ODEBlock(Field(), **({"solver": "rk4", "num_steps": 4} | settings))


def state() -> Tensor:
    return torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(1))


def compare(**settings) -> dict[str, Row]:
    rows = benchmark_block(block(**settings), state(), repeats=1).rows
    return {row.gradient: row for row in rows}


def cost(rows: dict[str, Row], name: str) -> Cost:
    found = rows[name].cost
    assert found is not None
    return found


def made_up(name: str = "direct", **facts) -> Row:
    values = dict(
        seconds_forward=1.0, seconds=2.0, nfe_forward=4, nfe_backward=4, bytes_held=10,
        bytes_peak=30, parameter_error=0.0, input_error=0.0, output_change=0.0,
    )  # fmt: skip
    accuracy = CONTESTANTS[name].accuracy
    return Row(
        gradient=name, setting=name, accuracy=accuracy, solver="rk4", cost=Cost(**values | facts)
    )


@pytest.fixture(scope="module")
def fixed() -> dict[str, Row]:
    return compare()


def test_every_gradient_has_a_row_with_its_cost(fixed: dict[str, Row]) -> None:
    assert list(fixed) == NAMES
    assert all(cost(fixed, name).bytes_peak > 0 for name in NAMES)


@pytest.mark.parametrize("name", [n for n in NAMES if CONTESTANTS[n].accuracy == "exact"])
@pytest.mark.parametrize("settings", [{}, {"solver": "dopri5", "num_steps": None}])
def test_exact_gradients_agree_with_direct(name: str, settings: dict) -> None:
    error = cost(compare(**settings), name).error
    assert error is not None and error < 1e-4


@pytest.mark.parametrize("name", ["backsolve", "backsolve seminorm"])
def test_the_error_of_a_convergent_gradient_shows(name: str, fixed: dict[str, Row]) -> None:
    found = cost(fixed, name)
    assert fixed[name].accuracy == "convergent"
    assert found.parameter_error is not None and found.parameter_error > 1e-6
    assert found.input_error is not None and found.input_error > 1e-6


def test_evaluations_are_counted_forward_and_backward(fixed: dict[str, Row]) -> None:
    counts = {name: (c.nfe_forward, c.nfe_backward) for name in NAMES if (c := cost(fixed, name))}
    assert counts["direct"] == (16, 0)
    assert counts["checkpointed"] == (16, 16)
    assert counts["reversible"] == (32, 32)


def test_a_coupled_solver_is_named_and_its_other_numbers_shown(fixed: dict[str, Row]) -> None:
    assert fixed["reversible"].solver == "coupled-rk4"
    assert cost(fixed, "reversible").output_change
    assert fixed["checkpointed"].solver == "rk4"
    assert cost(fixed, "checkpointed").output_change == pytest.approx(0, abs=1e-6)


def test_a_gradient_that_does_not_suit_the_solver_has_a_reason() -> None:
    rows = compare(solver="implicit-euler", num_steps=2)
    unsuited = {name for name, row in rows.items() if row.cost is None}
    assert unsuited == {
        "checkpointed by stages", "reversible", "backsolve", "backsolve seminorm"
    }  # fmt: skip
    assert "explicit" in (rows["reversible"].reason or "")


def test_a_block_that_cannot_be_solved_is_no_row() -> None:
    with pytest.raises(SolveError, match="max_steps"):
        compare(solver="dopri5", num_steps=None, max_steps=1, rtol=1e-9, atol=1e-9)


def test_steps_take_memory_under_direct_only() -> None:
    few, many = compare(num_steps=2), compare(num_steps=16)
    growth = {name: cost(many, name).bytes_peak / cost(few, name).bytes_peak for name in NAMES}
    assert growth["direct"] > 6
    assert growth["reversible"] == pytest.approx(1, abs=0.02)
    assert cost(many, "checkpointed").bytes_peak < cost(many, "direct").bytes_peak / 3


def test_the_block_and_its_gradients_stay_as_they_were() -> None:
    own = block(gradient="reversible")
    benchmark_block(own, state(), repeats=1)
    assert (own.gradient, own.solver, own.last_stats) == ("reversible", "rk4", None)
    assert all(parameter.grad is None for parameter in own.parameters())


def test_what_direct_keeps_is_its_graph() -> None:
    own, y0 = block(gradient="direct"), state().requires_grad_()
    meter = SavedBytes([y0, *own.parameters()])
    with meter:
        y1 = own(y0)
        assert meter.live == graph_bytes([y1], [y0])


def test_saved_bytes_end_with_the_graph() -> None:
    x = torch.ones(10, requires_grad=True)
    meter = SavedBytes([x])
    with meter:
        y = (2 * x).exp()  # keeps its own output
        assert meter.live == 40
        del y
    assert (meter.live, meter.peak) == (0, 40)


def test_a_view_is_counted_once() -> None:
    x = torch.ones(10, requires_grad=True)
    meter = SavedBytes([x])
    with meter:
        y = 2 * x
        z = y.view(2, 5).square() + y.view(5, 2).square().view(2, 5)
        assert meter.live == 40
        z.sum().backward()
    assert meter.live == 0


def test_bfloat16_is_autocast_and_the_state_stays_float32() -> None:
    seen = []
    own = block()
    own.vector_field.conv.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    rows = benchmark_block(own, state().bfloat16(), repeats=1, precision="bf16").rows
    assert set(seen) == {torch.bfloat16}
    assert all(row.cost is not None for row in rows)


def test_the_fastest_exact_gradient_is_recommended() -> None:
    rows = [
        made_up(seconds=2.0),
        made_up("checkpointed", seconds=1.5),
        made_up("backsolve", seconds=1.0),
    ]
    found = recommend(rows, max_bytes=30)
    assert (found.gradient, found.fits, found.faster) == ("checkpointed", True, None)


def test_a_slower_gradient_is_recommended_where_only_it_fits() -> None:
    rows = [made_up(bytes_peak=31), made_up("checkpointed", seconds=3.0, bytes_peak=30)]
    found = recommend(rows, max_bytes=30)
    assert (found.gradient, found.fits, found.faster) == ("checkpointed", True, "direct")


def test_the_smallest_gradient_is_recommended_where_none_fits() -> None:
    rows = [made_up(), made_up("reversible", bytes_peak=20), made_up("backsolve", bytes_peak=10)]
    found = recommend(rows, max_bytes=5)
    assert (found.gradient, found.fits) == ("reversible", False)


def test_the_simpler_of_two_equally_fast_gradients_is_recommended() -> None:
    rows = [made_up(seconds=1.01), made_up("checkpointed", seconds=1.0)]
    assert recommend(rows, max_bytes=30).gradient == "direct"


def test_without_an_exact_gradient_there_is_nothing_to_recommend() -> None:
    lost = dataclasses.replace(made_up(), cost=None, reason="too large")
    with pytest.raises(ValueError, match="fewer or smaller"):
        recommend([lost, made_up("backsolve")], max_bytes=30)


def test_what_the_blocks_before_hold_waits_for_a_block() -> None:
    first = made_up(bytes_held=10, bytes_peak=30, input_error=1e-3)
    second = made_up(bytes_held=5, bytes_peak=25, parameter_error=2e-3)
    blocks = [
        BlockBenchmark(name=str(i), shape=(1,), rows=(r,)) for i, r in enumerate((first, second))
    ]
    (row,) = whole_pass(blocks)
    assert row.cost is not None
    assert (row.cost.bytes_held, row.cost.bytes_peak) == (15, 35)
    assert (row.cost.seconds, row.cost.nfe_forward, row.cost.error) == (4.0, 8, 2e-3)


def test_a_gradient_that_fails_on_one_block_fails_on_the_network() -> None:
    lost = dataclasses.replace(made_up(), cost=None, reason="too large")
    blocks = [
        BlockBenchmark(name=str(i), shape=(1,), rows=(r,)) for i, r in enumerate((made_up(), lost))
    ]
    (row,) = whole_pass(blocks)
    assert (row.cost, row.reason) == (None, "too large")


def test_each_block_of_a_network_is_measured_on_what_it_receives() -> None:
    torch.manual_seed(0)
    model = create_model("odenet-stacked", widths=(16, 32)).eval()
    calls: list[tuple[int, int]] = []
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = benchmark_model(model, images, repeats=1, on_run=lambda *done: calls.append(done))
    assert [b.name for b in found.blocks] == ["ODE block 1 of 2", "ODE block 2 of 2"]
    assert [b.shape for b in found.blocks] == [(2, 16, 7, 7), (2, 32, 3, 3)]
    assert [row.gradient for row in found.rows] == NAMES
    assert CONTESTANTS[found.recommendation.gradient].accuracy == "exact"
    assert calls[-1] == (28, 28)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("odenet", {"max_bytes": 0}, "max_bytes"),
        ("odenet", {"repeats": 0}, "repeats"),
        ("resnet", {}, "ODE blocks"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark_model(create_model(name), torch.zeros(1, 1, 28, 28), **settings)


def test_a_setting_is_what_a_user_writes() -> None:
    names = {"Backsolve": Backsolve, "Checkpointed": Checkpointed}
    assert setting_of(Direct()) == "'direct'"
    assert setting_of(Reversible()) == "'reversible'"
    for gradient in (Backsolve(norm="seminorm"), Checkpointed(max_states="sqrt", graph="stage")):
        assert eval(setting_of(gradient), names) == gradient


def test_a_warm_start_stays_where_it_was() -> None:
    own = block(solver="dopri5", num_steps=None, warm_start=True)
    own(state())
    before = own.dt_warm.clone()
    assert before > 0
    rows = benchmark_block(own, 5 * state(), repeats=1).rows
    assert own.warm_start and torch.equal(own.dt_warm, before)
    assert cost({row.gradient: row for row in rows}, "checkpointed").parameter_error < 1e-5
