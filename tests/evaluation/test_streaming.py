"""Streams: the answer of the whole video at every moment, at constant work and memory."""

import math
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree
from video_models import small_video_model

from odevision.data.motion import MotionSet
from odevision.evaluation import streaming
from odevision.evaluation.streaming import (
    StreamingClassifier,
    StreamSnapshot,
    StreamTimeError,
    threads_for_frames,
)
from odevision.training.card import LoadedModel
from odevision.training.checkpoint import load_checkpoint
from odevision.types import Clips

STREAMING = [
    "video-odernn",
    "video-driven",
    "video-once",
    "video-convgru",
    "video-convgru-dt",
    "video-mean",
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_video_model(tmp_path_factory.mktemp("odernn"), "video-odernn")


def frames_of(num: int = 12, seed: int = 0) -> tuple[torch.Tensor, list[float]]:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(128, generator=generator)[:num].sort().values
    motion = MotionSet("test", torch.arange(10))
    return motion.frames(3, chosen), motion.seconds(3)[chosen].tolist()


@pytest.mark.parametrize("name", STREAMING)
def test_the_answer_after_each_frame_is_that_of_the_video_so_far(name: str, tmp_path: Path) -> None:
    loaded = small_video_model(tmp_path, name)
    images, seconds = frames_of()
    stream = StreamingClassifier(loaded, every_frame=True)
    normalized = loaded.clip_preprocessing.normalize(images)[None]
    times = torch.tensor([seconds]) - seconds[0]
    for i in range(len(images)):
        answer = stream.push(images[i], seconds[i])
        so_far = Clips(
            normalized[:, : i + 1], times[:, : i + 1], torch.ones(1, i + 1, dtype=torch.bool)
        )
        with torch.no_grad():
            whole = loaded.model(so_far).softmax(dim=1)[0]
        torch.testing.assert_close(answer, whole, atol=1e-5, rtol=0)
    assert stream.num_frames == len(images)
    assert stream.label == loaded.card.class_names[int(stream.probabilities.argmax())]


def test_what_lies_far_back_is_forgotten_if_asked(loaded: LoadedModel, tmp_path: Path) -> None:
    images, seconds = frames_of()
    plain, forgetful, endless = (
        StreamingClassifier(loaded, every_frame=True, memory_seconds=memory)
        for memory in (None, 2.0, math.inf)
    )
    for image, time in zip(images, seconds, strict=True):
        streams = [stream.push(image, time) for stream in (plain, forgetful, endless)]
        assert torch.equal(streams[0], streams[2])
    # By hand: the weight of each frame falls by exp(-age / 2).
    weights = torch.exp((torch.tensor(seconds) - seconds[-1]) / 2)
    pooled = forgetful._state.pooled  # type: ignore[union-attr]
    torch.testing.assert_close(pooled.weight, weights.sum()[None], rtol=1e-4, atol=0)
    assert not torch.equal(plain.probabilities, forgetful.probabilities)
    once = small_video_model(tmp_path, "video-once")
    with pytest.raises(ValueError, match="`memory_seconds` must be left out with video-once"):
        StreamingClassifier(once, memory_seconds=2.0)
    for wrong in (0, -1, math.nan):
        with pytest.raises(ValueError, match="`memory_seconds` must be above 0"):
            StreamingClassifier(loaded, memory_seconds=wrong)


def test_it_answers_before_the_first_frame(loaded: LoadedModel) -> None:
    stream = StreamingClassifier(loaded)
    assert torch.equal(stream.probabilities, torch.full((10,), 0.1))
    assert stream.num_frames == 0


def test_the_clock_may_begin_anywhere(loaded: LoadedModel) -> None:
    images, seconds = frames_of()
    answers = []
    for offset in (0.0, 3600.0, -5.0, 1.7e9):  # the last one as of time.time()
        stream = StreamingClassifier(loaded, every_frame=True)
        for image, time in zip(images, seconds, strict=True):
            stream.push(image, time + offset)
        answers.append(stream.probabilities)
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0], atol=1e-5, rtol=0)


def test_a_fast_stream_is_looked_at_as_often_as_in_training(loaded: LoadedModel) -> None:
    images, _ = frames_of(num=60)
    stream = StreamingClassifier(loaded)
    seen = [int(stream.push(image, i / 60).numel() > 0) * stream.num_frames
            for i, image in enumerate(images)]  # fmt: skip
    assert seen[-1] == 8 and stream.num_frames == 8
    slow = StreamingClassifier(loaded)
    for i in range(8):
        first_of_its_eighth = math.ceil(60 * i / 8)
        slow.push(images[first_of_its_eighth], first_of_its_eighth / 60)
    torch.testing.assert_close(slow.probabilities, stream.probabilities)


def test_memory_does_not_grow_with_the_frames(loaded: LoadedModel) -> None:
    images, _ = frames_of(num=1)
    stream = StreamingClassifier(loaded, every_frame=True)

    def bytes_held() -> int:
        tensors = stream.snapshot().tensors
        assert tensors is not None
        return sum(tensor.nbytes for tensor in tensors)

    held = []
    for i in range(50):
        stream.push(images[0], i / 8)
        held.append(bytes_held())
    assert set(held[1:]) == {held[1]}
    solved = [m for m in loaded.model.modules() if hasattr(m, "_costs")]
    assert solved and all(not m._costs for m in solved)  # type: ignore[attr-defined]


def test_a_frame_that_comes_late_is_refused_and_the_stream_goes_on(loaded: LoadedModel) -> None:
    images, _ = frames_of()
    stream = StreamingClassifier(loaded, every_frame=True)
    stream.push(images[0], 1.0)
    before = stream.push(images[1], 2.0)
    for late in (2.0, 1.5, -1.0):
        with pytest.raises(StreamTimeError, match="`seconds` must rise from frame to frame"):
            stream.push(images[2], late)
    assert torch.equal(stream.probabilities, before) and stream.num_frames == 2
    stream.push(images[2], 2.1)
    assert stream.num_frames == 3
    with pytest.raises(ValueError, match="`seconds` must be a finite number, got nan"):
        stream.push(images[3], float("nan"))


def test_a_snapshot_goes_on_in_another_place_and_from_a_file(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    images, seconds = frames_of()
    stream = StreamingClassifier(loaded)
    for image, time in zip(images[:5], seconds[:5], strict=True):
        stream.push(image, time)
    snapshot = stream.snapshot()
    torch.save(vars(snapshot), tmp_path / "stream.pt")
    for image, time in zip(images[5:], seconds[5:], strict=True):
        stream.push(image, time)

    fields = torch.load(tmp_path / "stream.pt", weights_only=True)
    for again in (snapshot, StreamSnapshot(**fields)):
        other = StreamingClassifier(loaded)
        other.restore(again)
        for image, time in zip(images[5:], seconds[5:], strict=True):
            other.push(image, time)
        assert torch.equal(other.probabilities, stream.probabilities)
        assert other.num_frames == stream.num_frames


def test_a_snapshot_before_the_first_frame_and_a_reset_begin_anew(loaded: LoadedModel) -> None:
    images, _ = frames_of()
    stream = StreamingClassifier(loaded)
    empty = stream.snapshot()
    first = stream.push(images[0], 100.0)
    stream.restore(empty)
    assert torch.equal(stream.probabilities, torch.full((10,), 0.1))
    assert torch.equal(stream.push(images[0], 0.0), first)
    stream.reset()
    assert torch.equal(stream.push(images[0], 50.0), first)


def test_a_snapshot_of_other_weights_is_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    other = small_video_model(tmp_path, "video-odernn", seed=1)
    snapshot = StreamingClassifier(other).snapshot()
    with pytest.raises(ValueError, match="`snapshot` must be of this network"):
        StreamingClassifier(loaded).restore(snapshot)


def test_frames_of_any_size_as_tensors_or_arrays(loaded: LoadedModel) -> None:
    image = torch.randint(256, (3, 40, 90), dtype=torch.uint8)
    by_tensor = StreamingClassifier(loaded).push(image, 0.0)
    by_array = StreamingClassifier(loaded).push(image.permute(1, 2, 0).numpy(), 0.0)
    assert torch.equal(by_tensor, by_array)


def test_gray_frames_are_those_of_three_equal_channels(loaded: LoadedModel) -> None:
    gray = torch.randint(256, (40, 90), dtype=torch.uint8)
    expected = StreamingClassifier(loaded).push(gray.expand(3, -1, -1), 0.0)
    for frame in (gray, gray.numpy(), gray.flip(1).numpy()[:, ::-1]):
        assert torch.equal(StreamingClassifier(loaded).push(frame, 0.0), expected)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((3, 40, 90), dtype=np.uint8),
        np.zeros((40, 90, 3), dtype=np.float32),
        torch.zeros(0, 0, 3, dtype=torch.uint8),
    ],
    ids=["channels first", "floats", "empty"],
)
def test_frames_of_another_form_are_refused(
    loaded: LoadedModel, frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="`frame` must be uint8"):
        StreamingClassifier(loaded).push(frame, 0.0)


def test_networks_that_cannot_stream_are_refused(tmp_path: Path) -> None:
    loaded = small_video_model(tmp_path, "video-r2plus1d")
    with pytest.raises(ValueError, match="got video-r2plus1d, which takes whole clips only"):
        StreamingClassifier(loaded)


def test_a_network_of_images_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a network of videos here, got odenet"):
        StreamingClassifier(load_checkpoint("mnist"))


def test_a_state_is_nested_tuples_of_tensors(loaded: LoadedModel) -> None:
    stream = StreamingClassifier(loaded)
    stream.push(frames_of(1)[0][0], 0.0)
    assert all(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(stream._state))


def test_small_networks_take_frames_on_one_thread_and_large_ones_on_all(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(KeyError), threads_for_frames(loaded):
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(streaming, "_SMALL", 1)
        with threads_for_frames(loaded):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
