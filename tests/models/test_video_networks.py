"""The recurrent video networks: what an ODE-RNN must do, and memory that does not grow."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from benchmarks.live_bytes import LiveBytes
from odevision.models.video import (
    RecurrentVideoNet,
    VideoConvGRUConfig,
    VideoConvGRUDtConfig,
    VideoDrivenConfig,
    VideoMeanConfig,
    VideoODERNNConfig,
    VideoOnceConfig,
    VideoSettings,
    VideoState,
)
from odevision.nn.frame_layers import FrameResidual
from odevision.types import Clips

CONFIGS = [
    VideoODERNNConfig,
    VideoDrivenConfig,
    VideoOnceConfig,
    VideoConvGRUConfig,
    VideoConvGRUDtConfig,
    VideoMeanConfig,
]
SMALL: dict[str, Any] = {"stem_width": 8, "widths": (8, 16)}
TIMED = [VideoODERNNConfig, VideoDrivenConfig, VideoConvGRUDtConfig]


def network(config: type[VideoSettings], seed: int = 0, **fields: Any) -> RecurrentVideoNet:
    torch.manual_seed(seed)
    return RecurrentVideoNet(config(**{**SMALL, **fields})).eval()


def clips(batch: int = 2, time: int = 6, seed: int = 1, height: int = 20) -> Clips:
    generator = torch.Generator().manual_seed(seed)
    gaps = torch.rand(batch, time, generator=generator) * 0.2 + 0.02
    return Clips(
        frames=torch.randn(batch, time, 3, height, 28, generator=generator),
        seconds=gaps.cumsum(dim=1),
        mask=torch.ones(batch, time, dtype=torch.bool),
    )


def part(whole: Clips, start: int, stop: int) -> Clips:
    return Clips(*(tensor[:, start:stop] for tensor in whole))


def streamed(model: RecurrentVideoNet, whole: Clips) -> list[Tensor]:
    state = model.initial_state(len(whole.frames), *whole.frames.shape[3:])
    answers = []
    for i in range(whole.frames.shape[1]):
        state = model.advance(state, part(whole, i, i + 1))
        answers.append(model.logits(state))
    return answers


@pytest.mark.parametrize("pooling", ["mean", "attention"])
@pytest.mark.parametrize("config", CONFIGS)
def test_streaming_frame_by_frame_equals_the_whole_clip(
    config: type[VideoSettings], pooling: str
) -> None:
    if config is VideoOnceConfig and pooling == "attention":
        pytest.skip("takes the last vector, not a pooled one")
    model, whole = network(config, pooling=pooling), clips()
    with torch.no_grad():
        assert torch.allclose(streamed(model, whole)[-1], model(whole), atol=1e-6)


def test_the_ode_may_carry_the_state_of_a_long_short_term_memory() -> None:
    model, whole = network(VideoODERNNConfig, cell="lstm"), clips()
    state = model.initial_state(2, 20, 28)
    assert [tuple(maps.shape[1:]) for maps in state.layers] == [(16, 5, 7), (32, 3, 4)]
    with torch.no_grad():
        assert torch.allclose(streamed(model, whole)[-1], model(whole), atol=1e-6)
        later = whole._replace(seconds=3 * whole.seconds)
        assert not torch.allclose(model(later), model(whole), atol=1e-4)
    model(whole).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("kind", ["stabilized", "flow"])
def test_streaming_finds_the_same_motion(kind: str) -> None:
    model, whole = network(VideoODERNNConfig, frame_input=kind), clips()
    with torch.no_grad():
        assert torch.allclose(streamed(model, whole)[-1], model(whole), atol=1e-6)


@pytest.mark.parametrize("config", CONFIGS)
def test_an_answer_does_not_depend_on_later_frames(config: type[VideoSettings]) -> None:
    model, whole = network(config), clips()
    other = Clips(whole.frames.clone(), whole.seconds.clone(), whole.mask)
    other.frames[:, 4:] += 3
    other.seconds[:, 4:] += 1
    with torch.no_grad():
        one, two = streamed(model, whole), streamed(model, other)
    assert all(torch.equal(one[i], two[i]) for i in range(4))
    assert not torch.allclose(one[4], two[4])


@pytest.mark.parametrize("config", CONFIGS)
def test_a_shift_of_the_time_changes_nothing(config: type[VideoSettings]) -> None:
    model, whole = network(config), clips()
    with torch.no_grad():
        shifted = whole._replace(seconds=whole.seconds + 32)
        assert torch.allclose(model(shifted), model(whole), atol=2e-5)


@pytest.mark.parametrize("kind", ["both", "stabilized", "flow"])
@pytest.mark.parametrize("config", CONFIGS)
def test_samples_and_paddings_do_not_touch_each_other(
    config: type[VideoSettings], kind: str
) -> None:
    model, whole = network(config, frame_input=kind), clips(batch=3)
    whole.mask[1, 4:] = False
    whole.frames[1, 4:] = 50.0
    whole.seconds[1, 4:] = whole.seconds[1, 3]
    whole.seconds[2] *= 9
    with torch.no_grad():
        together = model(whole)
        for i, time in enumerate((6, 4, 6)):
            alone = Clips(*(tensor[i : i + 1, :time] for tensor in whole))
            assert torch.allclose(model(alone)[0], together[i], atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_only_networks_that_are_told_the_time_depend_on_it(config: type[VideoSettings]) -> None:
    model, whole = network(config), clips()
    with torch.no_grad():
        stretched = model(whole._replace(seconds=2 * whole.seconds))
        assert torch.allclose(stretched, model(whole), atol=1e-6) == (config not in TIMED)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_background_that_does_not_move_leaves_no_difference(
    config: type[VideoSettings],
) -> None:
    model = network(config)
    seen: list[Tensor] = []
    model.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    whole = clips(batch=1, time=1)
    still = Clips(
        whole.frames.expand(1, 4, -1, -1, -1), torch.arange(4.0)[None], torch.ones(1, 4) > 0
    )
    streamed(model, still)
    assert all(maps.shape[1] == 6 and not maps[:, 3:].any() for maps in seen)


def gradients_of(
    config: type[VideoSettings], dtype: torch.dtype, chunk: int | None
) -> list[Tensor]:
    pooling = "mean" if config is VideoOnceConfig else "attention"
    model = network(config, chunk=chunk, pooling=pooling).to(dtype)
    if isinstance(model.config, VideoOnceConfig):  # which starts at zero
        torch.nn.init.eye_(model.end.vector_field.outer.weight)
    whole = clips(time=16)
    whole = whole._replace(frames=whole.frames.to(dtype), seconds=whole.seconds.to(dtype))
    model(whole).square().sum().backward()
    return [p.grad for p in model.parameters()]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_gradients_in_chunks_are_those_of_plain_backpropagation(
    config: type[VideoSettings], chunk: int
) -> None:
    plain = gradients_of(config, torch.float64, None)
    for ours, theirs in zip(gradients_of(config, torch.float64, chunk), plain, strict=True):
        assert theirs.any() and (ours - theirs).norm() <= 1e-11 * theirs.norm()


@pytest.mark.parametrize("config", CONFIGS)
def test_gradients_in_chunks_are_exact_to_rounding_in_float32(config: type[VideoSettings]) -> None:
    exact, plain, chunked = (
        torch.cat([g.flatten().double() for g in gradients_of(config, dtype, chunk)])
        for dtype, chunk in ((torch.float64, None), (torch.float32, None), (torch.float32, 4))
    )
    assert (chunked - exact).norm() <= 1e-6 * exact.norm()
    if config in (VideoODERNNConfig, VideoDrivenConfig):
        assert (chunked - plain).abs().max() <= 1e-6 * plain.abs().max()


def peak_bytes(model: RecurrentVideoNet, time: int) -> int:
    # Equal gaps: a longer one would take more pieces, whose graph is larger.
    whole = clips(batch=1, time=time)._replace(seconds=torch.arange(time)[None] / 8)
    with LiveBytes([*whole, *model.parameters()]) as live:
        model(whole).sum().backward()
    model.zero_grad()
    return live.most


@pytest.mark.parametrize(
    ("config", "times"),
    [(VideoODERNNConfig, (16, 64, 256)), (VideoDrivenConfig, (16, 64))],
)
def test_training_memory_does_not_grow_with_the_frames_in_chunks(
    config: type[VideoSettings], times: tuple[int, ...]
) -> None:
    # Narrow: frames this small must outweigh the gradients of the weights, which are held twice.
    widths = (16, 24)
    model = network(config, chunk=8, stem_width=16, widths=widths)
    chunked = [peak_bytes(model, time) for time in times]
    assert max(chunked) <= 1.1 * min(chunked), chunked
    plain = [peak_bytes(network(config, stem_width=16, widths=widths), 16 * n) for n in (1, 2)]
    assert plain[1] > 1.7 * plain[0] and chunked[0] < plain[0]


def test_long_videos_are_answered_in_the_memory_of_short_ones() -> None:
    model, peaks = network(VideoODERNNConfig), []
    for time in (64, 256):
        whole = clips(time=time)
        with torch.no_grad(), LiveBytes([*whole, *model.parameters()]) as live:
            answer = model(whole)
        peaks.append(live.most)
        assert torch.allclose(answer, model(whole).detach(), atol=1e-6)
    assert peaks[1] <= 1.1 * peaks[0], peaks


@pytest.mark.parametrize("config", CONFIGS)
def test_frame_blocks_see_single_frames_and_add_to_them(config: type[VideoSettings]) -> None:
    model, whole = network(config, frame_blocks=2), clips()
    plain = network(config)
    plain.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.allclose(streamed(model, whole)[-1], model(whole), atol=1e-6)
        assert not torch.allclose(model(whole), plain(whole), atol=1e-4)
        for block in model.blocks.modules():
            if isinstance(block, FrameResidual):
                block.outer.weight.zero_()
                assert block.outer.bias is not None
                block.outer.bias.zero_()
        assert torch.equal(model(whole), plain(whole))


@pytest.mark.parametrize("config", CONFIGS)
def test_a_single_frame_and_frames_of_odd_size_have_an_answer(
    config: type[VideoSettings],
) -> None:
    model = network(config)
    with torch.no_grad():
        assert model(clips(time=1, height=21)).isfinite().all()


@pytest.mark.parametrize(("kind", "channels"), [("frames", 3), ("differences", 3), ("both", 6)])
def test_the_stem_sees_what_was_asked_for(kind: str, channels: int) -> None:
    model, whole = network(VideoODERNNConfig, frame_input=kind), clips()
    seen: list[Tensor] = []
    model.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    streamed(model, whole)
    for i, maps in enumerate(seen):
        frame, before = whole.frames[:, i], whole.frames[:, max(i - 1, 0)]
        parts = {
            "frames": [frame],
            "differences": [frame - before],
            "both": [frame, frame - before],
        }
        assert maps.shape[1] == channels
        assert torch.equal(maps, torch.cat(parts[kind], dim=1))


def test_a_state_survives_a_file_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    model, whole = network(VideoDrivenConfig, pooling="attention"), clips()
    with torch.no_grad():
        state = model.advance(model.initial_state(2, 20, 28), part(whole, 0, 3))
        torch.save(pytree.tree_leaves(state), tmp_path / "state.pt")
        leaves = torch.load(tmp_path / "state.pt", weights_only=True)
        again = pytree.tree_unflatten(leaves, pytree.tree_structure(state))
        rest = part(whole, 3, 6)
        answer = model.logits(model.advance(again, rest))
        assert torch.equal(answer, model.logits(model.advance(state, rest)))
        assert torch.allclose(answer, model(whole), atol=1e-6)


def test_a_state_knows_the_latest_frame_and_its_time() -> None:
    model, whole = network(VideoConvGRUConfig), clips()
    whole.mask[1, 4:] = False
    with torch.no_grad():
        state = model.advance(model.initial_state(2, 20, 28), part(whole, 0, 3))
        state = model.advance(state, part(whole, 3, 6))
    for i, last in enumerate((5, 3)):
        assert torch.equal(state.seen.frame[i], whole.frames[i, last])
        assert state.seconds[i] == whole.seconds[i, last]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_clip_that_is_over_keeps_its_answer_while_others_go_on(
    config: type[VideoSettings],
) -> None:
    model, whole = network(config), clips()
    whole.mask[1, 3:] = False
    with torch.no_grad():
        answers = streamed(model, whole)
    assert all(torch.equal(answer[1], answers[2][1]) for answer in answers[2:])
    assert not torch.equal(answers[2][0], answers[5][0])


def test_gaps_stay_exact_after_hours_where_times_are_float64() -> None:
    model, whole = network(VideoODERNNConfig), clips()
    with torch.no_grad():
        seconds = whole.seconds.double()
        late = [streamed(model, whole._replace(seconds=seconds + s))[-1] for s in (0.0, 1.7e9)]
    assert torch.allclose(late[0], late[1], atol=1e-5)


def test_a_frame_at_the_time_of_the_one_before_does_not_move_the_ode() -> None:
    model, whole = network(VideoODERNNConfig), clips()
    whole.seconds[:] = 3.0
    states: list[tuple[Tensor, Tensor]] = []
    for block in model.ode_blocks():
        block.register_forward_hook(lambda _, inputs, out: states.append((inputs[0], out)))
    with torch.no_grad():
        model(whole)
    assert len(states) == 12
    assert all(torch.equal(before, after) for before, after in states)


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("config", CONFIGS)
def test_half_precision_of_the_layers_leaves_states_in_float32(
    config: type[VideoSettings], chunk: int | None
) -> None:
    model, whole = network(config, chunk=chunk), clips()
    exact = model(whole)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(whole)
        with torch.no_grad():
            state = model.advance(model.initial_state(2, 20, 28), whole)
    leaves = pytree.tree_leaves(state)
    assert {leaf.dtype for leaf in leaves} == {torch.float32, torch.bool}
    assert torch.allclose(logits.float(), exact, atol=0.05)
    logits.float().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("config", [VideoODERNNConfig, VideoDrivenConfig])
@pytest.mark.parametrize("gradient", ["checkpointed", "reversible"])
def test_gradients_of_the_solves_agree(config: type[VideoSettings], gradient: str) -> None:
    found = []
    for name in ("direct", gradient):
        model = network(config, gradient=name, solver="reversible-heun")
        model(clips()).sum().backward()
        found.append([p.grad for p in model.parameters()])
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


def test_more_steps_and_another_solver_give_about_the_same_answer() -> None:
    coarse = network(VideoODERNNConfig, num_steps=2)
    fine = network(VideoODERNNConfig, solver="dopri5", num_steps=None, rtol=1e-7, atol=1e-7)
    with torch.no_grad():
        assert torch.allclose(coarse(clips()), fine(clips()), atol=1e-3)
        assert not torch.equal(coarse(clips()), fine(clips()))


def test_state_is_nested_tuples_of_tensors() -> None:
    def leaves(value: Any) -> list[Any]:
        return (
            [leaf for one in value for leaf in leaves(one)] if isinstance(value, tuple) else [value]
        )

    state = network(VideoDrivenConfig).initial_state(2, 20, 28)
    assert isinstance(state, VideoState)
    assert all(isinstance(leaf, Tensor) for leaf in leaves(state))


def test_evaluations_of_a_pass_are_counted_anew() -> None:
    model, whole = network(VideoODERNNConfig, rate=1.0), clips(time=5)
    for _ in range(2):
        model(whole).sum().backward()
        stats = [block.last_stats for block in model.ode_blocks()]
        assert [one.nfe_forward for one in stats if one is not None] == [10, 10]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": ()}, "widths"),
        ({"widths": (30,)}, "multiples of 8"),
        ({"stem_width": 4}, "stem_width"),
        ({"chunk": 0}, "chunk"),
        ({"rate": 0.0}, "rate"),
        ({"max_step": -1.0}, "max_step"),
        ({"num_classes": 0}, "num_classes"),
        ({"num_steps": 0}, "num_steps"),
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoODERNNConfig(**fields)
    assert dataclasses.asdict(VideoODERNNConfig())["widths"] == (32, 40)
