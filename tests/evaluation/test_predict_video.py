"""The answer for a video: over time, early, from broken files, from streams."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from video_cases import bar_frames, encode
from video_models import small_video_model

from odevision.data.clip_source import VideoFiles
from odevision.data.frame_cache import FrameCache
from odevision.data.motion import write_motion_videos
from odevision.data.video import open_video
from odevision.data.video_frame import Frame
from odevision.data.video_set import VideoSet
from odevision.data.video_stream import StreamSource, open_arrays
from odevision.data.video_writer import write_video
from odevision.evaluation.predict_video import VideoPrediction, find_videos, predict_stream
from odevision.evaluation.video_answers import answer_videos
from odevision.training.card import LoadedModel


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_video_model(tmp_path_factory.mktemp("odernn"), "video-odernn")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion_videos(tmp_path_factory.mktemp("videos"), num=1)[0]


def predict(loaded: LoadedModel, path: Path, **options) -> VideoPrediction:
    with open_video(path) as source:
        return predict_stream(loaded, source, **options)


def test_the_answer_is_that_after_the_last_frame(loaded: LoadedModel, video: Path) -> None:
    prediction = predict(loaded, video, top=3)
    last = prediction.moments[-1]
    assert prediction.label == loaded.card.class_names[int(last.probabilities.argmax())]
    assert prediction.probability == pytest.approx(float(last.probabilities.max()))
    assert len(prediction.top) == 3 and prediction.top[0][0] == prediction.label
    times = [moment.seconds for moment in prediction.moments]
    assert times == sorted(times) and times[0] == 0
    assert 20 <= prediction.num_frames <= 32  # four seconds at 8 a second, some missing
    assert prediction.seconds_watched == times[-1]
    assert prediction.share_watched == 1.0 and prediction.is_complete
    assert not prediction.stopped_early


def test_every_frame_looks_at_more(loaded: LoadedModel, video: Path) -> None:
    with open_video(video) as source:
        num_frames = len(list(source))
    assert predict(loaded, video, every_frame=True).num_frames == num_frames
    assert predict(loaded, video).num_frames < num_frames


def test_it_stops_when_it_is_sure(loaded: LoadedModel, video: Path) -> None:
    whole = predict(loaded, video)
    best = [float(moment.probabilities.max()) for moment in whole.moments]
    threshold = max(best[:4])
    stopped = predict(loaded, video, stop_when_sure=threshold)
    assert stopped.stopped_early and stopped.num_frames == best.index(threshold) + 1
    assert stopped.probability >= threshold
    assert stopped.share_watched is not None and stopped.share_watched < 1
    assert not predict(loaded, video, stop_when_sure=1.0).stopped_early


def test_it_stops_at_a_time(loaded: LoadedModel, video: Path) -> None:
    assert predict(loaded, video, max_seconds=0.6).seconds_watched <= 0.6
    assert predict(loaded, video, max_seconds=0.0).num_frames == 1


def test_it_tells_each_frame_with_the_answer_after_it(loaded: LoadedModel, video: Path) -> None:
    seen = []
    prediction = predict(
        loaded, video, on_frame=lambda frame, p: seen.append((frame.seconds, float(p.max())))
    )
    assert seen[-1][1] == pytest.approx(prediction.probability)
    assert len(seen) > prediction.num_frames


def test_of_a_video_that_fails_in_the_middle_the_first_part_is_answered(
    loaded: LoadedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = encode(tmp_path / "whole.avi", [(48, 64)] * 40)
    content = whole.read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(content[: len(content) * 6 // 10])
    prediction = predict(loaded, cut)
    assert not prediction.is_complete
    assert 0 < prediction.num_frames < predict(loaded, whole).num_frames
    assert prediction.duration_seconds and prediction.share_watched == pytest.approx(
        prediction.seconds_watched / prediction.duration_seconds
    )
    assert prediction.share_watched < 0.9
    assert "damaged or cut off" in caplog.text


def test_a_network_of_whole_clips_answers_once(tmp_path: Path, video: Path) -> None:
    loaded = small_video_model(tmp_path, "video-r2plus1d")
    prediction = predict(loaded, video)
    assert len(prediction.moments) == 1 and 20 <= prediction.num_frames <= 32
    assert prediction.probability == pytest.approx(float(prediction.moments[0].probabilities.max()))
    assert not prediction.stopped_early and prediction.share_watched == 1
    cut = predict(loaded, video, max_seconds=0.5)
    assert cut.stopped_early and cut.share_watched is not None and cut.share_watched < 0.5
    for name, value in (
        ("stop_when_sure", 0.9),
        ("every_frame", True),
        ("memory_seconds", 5.0),
        ("memory_seconds", 0.0),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be used with a network that can"):
            predict(loaded, video, **{name: value})


def test_ctrl_c_ends_a_camera_for_a_network_of_whole_clips(tmp_path: Path) -> None:
    def until_ctrl_c() -> Iterator[Frame]:
        for i in range(20):
            yield Frame(image=torch.full((3, 32, 32), i, dtype=torch.uint8), seconds=i / 8)
        raise KeyboardInterrupt

    loaded = small_video_model(tmp_path, "video-r2plus1d")
    camera = StreamSource(until_ctrl_c(), name="camera 0", is_live=True)
    assert predict_stream(loaded, camera).num_frames == 20
    with pytest.raises(KeyboardInterrupt):
        predict_stream(loaded, StreamSource(until_ctrl_c(), name="pictures"))


def test_a_stream_without_end_leaves_the_last_answer_alone(
    loaded: LoadedModel, video: Path
) -> None:
    every = predict(loaded, video)
    last = predict(loaded, video, keep_moments=False)
    assert last.num_frames == every.num_frames == len(every.moments) > 1
    (moment,) = last.moments
    assert torch.equal(moment.probabilities, every.moments[-1].probabilities)
    assert (last.label, last.seconds_watched) == (every.label, every.seconds_watched)


def test_arrays_and_other_streams_are_answered(loaded: LoadedModel) -> None:
    images = [np.full((20, 20, 3), 10 * i, dtype=np.uint8) for i in range(20)]
    with open_arrays(images, rate=20) as source:
        prediction = predict_stream(loaded, source)
    assert prediction.path == "arrays" and prediction.num_frames == 8
    assert prediction.duration_seconds is None and prediction.share_watched is None


@pytest.mark.parametrize("value", [0.0, -0.1, 1.5, float("nan")])
def test_a_certainty_that_is_none_is_refused(loaded: LoadedModel, video: Path, value) -> None:
    with pytest.raises(ValueError, match="`stop_when_sure` must be above 0 and at most 1"):
        predict(loaded, video, stop_when_sure=value)
    with pytest.raises(ValueError, match="`top` must be at least 1"):
        predict(loaded, video, top=0)
    with pytest.raises(ValueError, match="`max_seconds` must be 0 or more"):
        predict(loaded, video, max_seconds=float("nan"))


def test_videos_are_found_in_folders_and_what_names_none_is_reported(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.AVI", "c.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    files, errors = find_videos([tmp_path, tmp_path / "empty", tmp_path / "gone.mp4"])
    assert [file.name for file in files] == ["a.mp4", "b.AVI", "gone.mp4"]
    assert [path for path, _ in errors] == [str(tmp_path / "empty")]


def test_a_prediction_is_the_same_whatever_was_watched_before(
    loaded: LoadedModel, video: Path
) -> None:
    first = predict(loaded, video).moments[-1].probabilities
    assert torch.equal(predict(loaded, video).moments[-1].probabilities, first)


def test_prediction_and_evaluation_see_the_same_frames(
    loaded: LoadedModel, video: Path, tmp_path: Path
) -> None:
    big = write_video(tmp_path / "videos" / "big.mp4", bar_frames(30, height=96, width=130))
    videos = VideoSet(
        paths=(video, big),
        labels=torch.tensor([0, 1]),
        groups=("a", "b"),
        class_names=loaded.card.class_names,
        name="two",
        split="test",
    )
    source = VideoFiles(videos, FrameCache(loaded.clip_preprocessing, tmp_path / "cache"))
    answers, _ = answer_videos(loaded, source, videos.labels, batch_size=2)
    for path, evaluated in zip(videos.paths, answers.probabilities, strict=True):
        with open_video(path, cover=loaded.clip_preprocessing.size) as reader:
            predicted = predict_stream(loaded, reader).moments[-1].probabilities
        torch.testing.assert_close(predicted, evaluated, atol=1e-5, rtol=0)
