import logging
import shutil

import pytest
import torch
from torch import nn

from odevision.models.odenet import ODENet, ODENetConfig
from odevision.models.registry import create_model
from odevision.training import compiling
from odevision.training.compiling import compile_model, find_compiler


def compiled_modules(model: nn.Module) -> list[str]:
    return [name for name, m in model.named_modules() if m._compiled_call_impl is not None]


def test_without_a_compiler_there_is_a_warning_and_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    model = ODENet(ODENetConfig(channels=4, solver="heun", num_steps=1))
    with caplog.at_level(logging.WARNING):
        assert not compile_model(model)
    assert "no C++ compiler" in caplog.text
    assert "g++" in caplog.text
    assert compiled_modules(model) == []


def test_cxx_is_looked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "my-compiler")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert find_compiler() == "/bin/my-compiler"


def test_vector_field_and_the_other_layers_are_compiled_not_the_solver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiling, "find_compiler", lambda: "/bin/c++")
    monkeypatch.setattr(compiling, "why_not_compiled", lambda device: None)
    model = ODENet(ODENetConfig(channels=4, solver="heun", num_steps=1))
    names = list(model.state_dict())
    assert compile_model(model)
    assert compiled_modules(model) == ["stem", "block.vector_field", "head"]
    assert list(model.state_dict()) == names


def test_the_layers_of_a_network_of_videos_are_compiled_where_they_are_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiling, "find_compiler", lambda: "/bin/c++")
    monkeypatch.setattr(compiling, "why_not_compiled", lambda device: None)
    model = create_model("video-odernn", stem_width=8, widths=(8,), frame_blocks=1)
    assert compile_model(model)
    found = [name for name, _ in model.named_modules() if name in compiled_modules(model)]
    assert {"stem", "halvings.0", "blocks.0", "pooling", "head"} <= set(found)
    assert {"layers.0.cell.input_conv", "layers.0.cell.state_conv"} <= set(found)
    assert "layers.0.evolve.over_gap.vector_field" in found
    assert "layers.0.cell" not in found and "blocks" not in found


def test_broken_compiler_is_noticed_beforehand_and_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(function: object) -> object:
        raise RuntimeError("Python.h: No such file\nand more")

    monkeypatch.setattr(compiling, "find_compiler", lambda: "/bin/c++")
    monkeypatch.setattr(torch, "compile", fail)
    model = ODENet(ODENetConfig(channels=4, solver="heun", num_steps=1))
    with caplog.at_level(logging.WARNING):
        assert not compile_model(model)
    assert "fails here (RuntimeError: Python.h: No such file): going on without" in caplog.text
    assert compiled_modules(model) == []


@pytest.mark.slow
@pytest.mark.skipif(find_compiler() is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("default")  # torch.compile warns of its own parts
def test_compiled_network_gives_the_same_answers_and_gradients() -> None:
    torch.manual_seed(0)
    plain = ODENet(ODENetConfig(channels=4, solver="heun", num_steps=1))
    compiled = ODENet(ODENetConfig(channels=4, solver="heun", num_steps=1))
    compiled.load_state_dict(plain.state_dict())
    assert compile_model(compiled)
    images = torch.randn(4, 1, 28, 28)
    results = []
    for model in (plain, compiled):
        logits = model(images)
        logits.square().sum().backward()
        results.append([logits.detach(), *(p.grad for p in model.parameters())])
    torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-3)
