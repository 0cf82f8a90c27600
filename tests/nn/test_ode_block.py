"""ODEBlock: odesolve as a layer."""

import copy
import pickle

import pytest
import torch
from torch import nn

from odevision import ODEBlock, create_model, odesolve
from odevision.nn import ConvField


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, t, y):
        return torch.tanh(self.linear(y)) * t


def with_layer(layer: nn.Module) -> nn.Module:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(4, 4, 1), layer)

        def forward(self, t, y):
            return self.inner(y)

    return Wrapped()


@pytest.fixture
def y0() -> torch.Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def test_a_block_is_odesolve_with_its_settings(y0: torch.Tensor) -> None:
    block = ODEBlock(Field(), solver="bosh3", rtol=1e-4, atol=1e-5, t0=0.5, t1=2)
    solution = odesolve(block.vector_field, y0, 0.5, 2, solver="bosh3", rtol=1e-4, atol=1e-5)
    assert torch.equal(block(y0), solution.y1)
    assert block.last_stats == solution.stats


def test_a_block_has_no_statistics_before_its_first_forward_pass() -> None:
    assert ODEBlock(Field()).last_stats is None


def test_the_statistics_gain_the_backward_evaluations(y0: torch.Tensor) -> None:
    block = ODEBlock(Field(), solver="rk4", num_steps=3)
    block(y0).sum().backward()
    assert block.last_stats is not None
    assert (block.last_stats.nfe_forward, block.last_stats.nfe_backward) == (12, 12)


def test_a_trajectory_starts_at_the_input_and_ends_at_the_output(y0: torch.Tensor) -> None:
    block = ODEBlock(Field())
    ys = block.trajectory(y0, torch.linspace(0, 1, 5))
    assert ys.shape == (5, 5, 3)
    assert torch.equal(ys[0], y0) and torch.equal(ys[-1], block(y0))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(4),
        nn.SyncBatchNorm(4),
        nn.BatchNorm2d(4, track_running_stats=False).eval(),
        nn.Dropout(0.5),
        nn.Dropout2d(0.1),
        nn.AlphaDropout(0.1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_change_within_a_solve_are_refused_by_name(layer: nn.Module) -> None:
    with pytest.raises(ValueError, match=f"{type(layer).__name__} .*inner.1.*Try"):
        ODEBlock(with_layer(layer))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(4).eval(),
        nn.Dropout(0.5).eval(),
        nn.Dropout(0.0),
        nn.GroupNorm(2, 4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_stay_the_same_are_allowed(layer: nn.Module) -> None:
    block = ODEBlock(with_layer(layer), num_steps=1)
    assert block(torch.ones(2, 4, 3, 3)).shape == (2, 4, 3, 3)


def test_a_layer_switched_to_training_later_is_refused_at_the_solve() -> None:
    block = ODEBlock(with_layer(nn.BatchNorm2d(4).eval()), num_steps=1)
    block.train()
    with pytest.raises(ValueError, match="BatchNorm2d"):
        block(torch.ones(2, 4, 3, 3))


def test_an_unknown_solver_is_refused_when_the_block_is_built() -> None:
    with pytest.raises(ValueError, match="Did you mean 'tsit5'"):
        ODEBlock(Field(), solver="tsit")


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda block: pickle.loads(pickle.dumps(block)),
    ],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_answers_alike_and_shares_nothing(copied, y0: torch.Tensor) -> None:
    block = ODEBlock(Field(), num_steps=2)
    block(y0).sum().backward()
    twin = copied(block)
    assert torch.equal(twin(y0), block(y0))
    assert twin.vector_field.linear.weight is not block.vector_field.linear.weight


def test_a_copy_of_a_compiled_block_is_not_compiled() -> None:
    block = ODEBlock(Field(), num_steps=2)
    block.compile()
    assert copy.deepcopy(block)._compiled_call_impl is None
    assert pickle.loads(pickle.dumps(block))._compiled_call_impl is None


def test_the_state_dict_holds_the_fields_parameters_only(y0: torch.Tensor) -> None:
    block, other = ODEBlock(Field(), num_steps=2), ODEBlock(Field(), num_steps=2)
    assert list(block.state_dict()) == ["vector_field.linear.weight", "vector_field.linear.bias"]
    other.load_state_dict(block.state_dict())
    assert torch.equal(other(y0), block(y0))


@pytest.mark.parametrize("options", [{"num_steps": 3}, {"rtol": 1e-4, "atol": 1e-4}])
def test_what_a_field_prepares_once_a_solve_has_its_gradient(options: dict) -> None:
    results = []
    for gradient in ("direct", "checkpointed"):
        torch.manual_seed(0)
        block = ODEBlock(ConvField(4).double(), gradient=gradient, **options)
        y0 = torch.randn(2, 4, 5, 5, dtype=torch.float64, requires_grad=True)
        block(y0).square().sum().backward()
        results.append([y0.grad, *(p.grad for p in block.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


def test_nested_states_go_in_and_out(y0: torch.Tensor) -> None:
    class Turning(nn.Module):
        def forward(self, t, y):
            return {"x": y["v"], "v": -y["x"]}

    block = ODEBlock(Turning(), t1=torch.pi / 2, rtol=1e-6, atol=1e-6)
    out = block({"x": y0, "v": torch.zeros_like(y0).bfloat16()})
    torch.testing.assert_close(out["v"], -y0, rtol=1e-4, atol=1e-4)
    assert out["x"].abs().max() < 1e-4 and out["v"].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_a_field_in_half_precision_is_solved_in_it(
    y0: torch.Tensor, dtype: torch.dtype, gradient: str
) -> None:
    block = ODEBlock(Field(), solver="rk4", num_steps=2, gradient=gradient)
    expected = block(y0)
    half = copy.deepcopy(block).to(dtype)
    out = half(y0.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.05)
    out.sum().backward()
    assert half.vector_field.linear.weight.grad.dtype == dtype


@pytest.mark.parametrize("name", ["odenet", "odenet-stacked", "resnet"])
def test_a_batch_of_no_images_has_no_scores(name: str) -> None:
    model = create_model(name, in_channels=3)
    for training in (True, False):
        model.train(training)
        logits = model(torch.zeros(0, 3, 32, 32))
        assert logits.shape == (0, 10)
    assert sum(block.last_stats.nfe_forward for block in model.ode_blocks()) == 0


def test_a_batch_of_nothing_keeps_the_parameters_in_the_graph() -> None:
    block, y0 = ODEBlock(Field()), torch.zeros(0, 3)
    out = block(y0)
    assert out.shape == (0, 3) and out is not y0
    out.sum().backward()
    assert block.vector_field.linear.weight.grad.abs().max() == 0
    assert block(y0.bfloat16()).dtype == torch.float32


def test_half_precision_under_autocast_keeps_a_float32_state(y0: torch.Tensor) -> None:
    block = ODEBlock(Field()).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert block(y0.bfloat16()).dtype == torch.float32


def test_a_nested_state_has_no_step_error(y0: torch.Tensor) -> None:
    class Decay(nn.Module):
        def forward(self, t, y):
            return {"x": -y["x"]}

    block = ODEBlock(Decay(), solver="rk4", num_steps=2, gradient="direct")
    block.measures_step_error = True
    with pytest.raises(ValueError, match="`measures_step_error` must be False for nested states"):
        block({"x": y0})


def test_the_settings_are_shown() -> None:
    assert "solver=rk4, num_steps=3" in repr(ODEBlock(Field(), solver="rk4", num_steps=3))
