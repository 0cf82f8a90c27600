"""The command line with networks of videos: train, evaluate, predict."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from video_cases import encode, with_stopped_clock

from odevision.cli.predict_video import CAMERA_MEMORY_SECONDS
from odevision.data.motion import MOTION_CLASSES, write_motion_videos
from odevision.data.video import open_video
from odevision.data.video_frame import Frame
from odevision.data.video_stream import StreamSource
from odevision.evaluation import streaming
from odevision.training.run_dir import read_run_config


@pytest.fixture(scope="module")
def video_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seconds on `motion`, made by the command itself."""
    from odevision.cli.main import main

    run = tmp_path_factory.mktemp("runs") / "tiny"
    words = ["train", "motion", "--epochs", "1", "--data.limit", "40", "--data.batch-size", "8"]
    words += ["--model.stem-width", "8", "--model.widths", "8", "--device", "cpu"]
    words += ["--log-every-steps", "2", "--out", str(run)]
    assert main(words) == 0
    return run


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_motion_videos(folder, num=3)
    return folder


def test_a_terminal_sees_how_many_videos_are_done(
    video_run: Path, videos: Path, invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    num = len([path for path in videos.rglob("*") if path.is_file()])
    monkeypatch.setenv("FORCE_COLOR", "1")
    outcome = invoke("predict", video_run, videos, "--json")
    assert "watching" in outcome.err and f"/{num}" in outcome.err
    assert len(json.loads(outcome.out)["predictions"]) == num


def test_training_says_what_comes_next(invoke, tmp_path: Path) -> None:
    outcome = invoke(
        "train", "motion", "--epochs", "1", "--data.limit", "20", "--data.batch-size", "8",
        "--model.name", "video-convgru", "--model.widths", "8", "--out", tmp_path / "run",
    )  # fmt: skip
    assert outcome.code == 0
    assert "20 training and 20 validation videos" in outcome.err + outcome.out
    assert f"odevision predict {tmp_path / 'run'} video.mp4" in outcome.out
    assert "calibrated" not in outcome.out


def test_another_network_sees_the_same_at_matched_parameters(invoke, tmp_path: Path) -> None:
    from odevision.cli.train_config import read_request
    from odevision.models.video import VideoMeanConfig
    from odevision.models.video_registry import count_parameters

    own = read_request(["motion"], description="").config
    other = read_request(["motion", "--model.name", "video-driven"], description="").config
    blocks = read_request(["ucf5", "--model.name", "video-mean"], description="").config.model
    assert isinstance(blocks, VideoMeanConfig)
    assert blocks.frame_blocks == 1  # sees each frame as the network that it replaces
    assert other.model.num_classes == 10 and other.data == own.data
    assert other.model.frame_input == own.model.frame_input
    assert count_parameters(other.model) == pytest.approx(count_parameters(own.model), rel=0.05)
    for words, message in (
        (["motion", "--model.name", "odenet"], "`odenet` is a network of images"),
        (["mnist", "--model.name", "video-mean"], "`video-mean` is a network of videos"),
    ):
        outcome = invoke("train", *words)
        assert outcome.code == 2 and message in outcome.err


def test_a_folder_of_videos_is_trained_on_with_its_own_classes(invoke, tmp_path: Path) -> None:
    write_motion_videos(tmp_path / "mine", num=30)
    outcome = invoke(
        "train", "motion", "--data", tmp_path / "mine", "--epochs", "1", "--data.batch-size", "8",
        "--model.widths", "8", "--data.height", "24", "--data.width", "24",
        "--data.cache-dir", tmp_path / "cache", "--out", tmp_path / "run",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    config = read_run_config(tmp_path / "run")
    assert config.model.num_classes == 10 and config.data.name == str(tmp_path / "mine")


def test_evaluation_measures_rates_and_shares(invoke, video_run: Path) -> None:
    words = ("evaluate", video_run, "--limit", "20", "--rates", "--watched", "--mirror")
    outcome = invoke(*words, "--consistency", "--json")
    assert outcome.code == 0
    document = json.loads(outcome.out)
    assert document["num_samples"] == 20 and document["data"] == "motion"
    assert 0 <= document["accuracy"] <= 1 and document["nfe"] > 0
    assert len(document["rates"]) == 4 and document["watched"][-1]["share"] == 1.0
    assert document["watched"][-1]["accuracy"] == document["accuracy"]
    assert [one["name"] for one in document["consistency"]][:2] == [
        "4x the steps",
        "dopri5 at 1e-05",
    ]
    assert document["consistency"][0]["nfe"] == 4 * document["nfe"]
    assert document["mirror"]["nfe"] == 2 * document["nfe"]
    assert np.array(document["confusion_matrix"]).sum() == 20
    shown = invoke(*words, "--plot")
    assert shown.code == 0 and "half the rate" in shown.out and "videos" in shown.out
    assert "accuracy with mirror" in shown.out
    assert (video_run / "plots" / "share_watched.png").is_file()
    assert (video_run / "plots" / "confusion.png").is_file()


def test_prediction_writes_a_table_a_picture_and_a_captioned_video(
    invoke, video_run: Path, videos: Path, tmp_path: Path
) -> None:
    outcome = invoke(
        "predict", video_run, videos, "--csv", "--plot", "--caption", "--out", tmp_path / "out",
        "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    predictions = json.loads(outcome.out)["predictions"]
    assert len(predictions) == 3
    one = predictions[0]
    assert one["label"] in MOTION_CLASSES and one["class_names"] == list(MOTION_CLASSES)
    assert sum(one["moments"][-1]["probabilities"]) == pytest.approx(1.0, abs=1e-4)
    stem = Path(one["path"]).stem
    text = (tmp_path / "out" / f"{stem}-probabilities.csv").read_text()
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["seconds", *MOTION_CLASSES]
    assert len(rows) == one["num_frames"] + 1
    assert (tmp_path / "out" / f"{stem}-probabilities.png").is_file()
    caption = tmp_path / "out" / f"{stem}-caption.mp4"
    with open_video(one["path"]) as before, open_video(caption) as after:
        originals, captioned = list(before), list(after)
    assert len(captioned) == len(originals)
    bands = [frame.image[:, -8:].float() for frame in (originals[-1], captioned[-1])]
    assert (bands[0] - bands[1]).abs().mean() > 10
    assert [f.seconds for f in captioned] == pytest.approx([f.seconds for f in originals], abs=1e-3)


def test_a_table_says_how_much_was_watched(invoke, video_run: Path, videos: Path) -> None:
    outcome = invoke("predict", video_run, videos, "--top", "2", "--stop-when-sure", "0.05")
    assert outcome.code == 0
    assert "1 frames" in outcome.out and "watched" in outcome.out


def test_broken_files_are_named_and_the_others_answered(
    invoke, video_run: Path, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.avi").write_text("no video")
    good = next(videos.rglob("*.mp4"))
    outcome = invoke(
        "predict", video_run, tmp_path / "empty.mp4", good, tmp_path / "text.avi",
        tmp_path / "gone.mp4", "--json",
    )  # fmt: skip
    assert outcome.code == 2
    document = json.loads(outcome.out)
    assert [one["path"] for one in document["predictions"]] == [str(good)]
    names = [Path(error["path"]).name for error in document["errors"]]
    assert names == ["empty.mp4", "text.avi", "gone.mp4"]
    assert "gone.mp4" in outcome.err


def test_a_folder_without_images_is_named_and_the_other_answered(
    invoke, video_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "shots").mkdir()
    PIL.Image.new("RGB", (40, 30)).save(tmp_path / "shots" / "0.png")
    paths = [tmp_path / "none", tmp_path / "shots"]
    outcome = invoke("predict", video_run, *paths, "--image-rate", "4", "--json")
    assert outcome.code == 2
    document = json.loads(outcome.out)
    assert [one["path"] for one in document["predictions"]] == [str(tmp_path / "shots")]
    assert [one["path"] for one in document["errors"]] == [str(tmp_path / "none")]


def test_a_caption_without_a_frame_or_a_place_ends_with_an_error(
    invoke, video_run: Path, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "0.png").write_bytes(b"no image")
    video, file, new = next(videos.rglob("*.mp4")), tmp_path / "shots" / "0.png", tmp_path / "new"
    for words, message in (
        ([tmp_path / "shots", "--image-rate", "4", "--out", new], "gave not one frame"),
        ([video, "--top", "0", "--out", new], "`top` must be at least 1"),
        ([video, "--out", file], "must be a folder that can be made"),
    ):
        outcome = invoke("predict", video_run, *words, "--caption")
        assert outcome.code != 0 and message in " ".join(outcome.err.split())


def test_a_pattern_that_the_shell_expanded_is_one_video(
    invoke, video_run: Path, tmp_path: Path
) -> None:
    for i in range(12):
        PIL.Image.new("RGB", (40, 30), (20 * i, 0, 0)).save(tmp_path / f"{i}.png")
    quoted = invoke("predict", video_run, tmp_path / "*.png", "--image-rate", "4", "--json")
    files = sorted(tmp_path.glob("*.png"))  # 10 before 2
    expanded = invoke("predict", video_run, *files, "--image-rate", "4", "--json")
    (one,), (other,) = (json.loads(found.out)["predictions"] for found in (quoted, expanded))
    assert one["num_frames"] == 12 and one["moments"] == other["moments"]
    alone = invoke("predict", video_run, *files[:2])
    assert alone.code == 0 and "--image-rate X makes one video of them" in alone.err


def test_images_are_the_frames_of_one_video(invoke, video_run: Path, tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for i in range(12):
        PIL.Image.new("RGB", (40, 30), (20 * i, 0, 0)).save(tmp_path / "shots" / f"{i}.png")
    outcome = invoke("predict", video_run, tmp_path / "shots", "--image-rate", "4", "--json")
    assert outcome.code == 0
    (prediction,) = json.loads(outcome.out)["predictions"]
    assert prediction["num_frames"] == 12
    assert prediction["seconds_watched"] == pytest.approx(11 / 4)


@pytest.mark.parametrize("kind", ["jpeg", "raw"])
def test_standard_input_is_a_video(video_run: Path, kind: str) -> None:
    images = [PIL.Image.new("RGB", (40, 30), (20 * i, 0, 0)) for i in range(6)]
    if kind == "raw":
        content = b"".join(image.tobytes() for image in images)
        options = ["--raw", "40x30"]
    else:
        parts = []
        for image in images:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG")
            parts.append(buffer.getvalue())
        content, options = b"".join(parts), []
    words = [sys.executable, "-m", "odevision", "predict", str(video_run), "-", "--json"]
    done = subprocess.run(
        [*words, "--image-rate", "8", *options], input=content, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    (prediction,) = json.loads(done.stdout)["predictions"]
    assert prediction["path"] == "stdin" and prediction["num_frames"] == 6


def test_a_camera_that_is_not_there_is_reported(invoke, video_run: Path) -> None:
    outcome = invoke("predict", video_run, "--webcam", "--camera", "97")
    assert outcome.code == 2 and "camera 97" in outcome.err


def frames_until_ctrl_c() -> Iterator[Frame]:
    for i in range(5):
        yield Frame(image=torch.full((3, 30, 40), 40 * i, dtype=torch.uint8), seconds=i / 5)
    raise KeyboardInterrupt


def test_ctrl_c_ends_a_camera_with_an_answer(
    invoke, video_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_camera(camera: int, *, cover: tuple[int, int] | None) -> StreamSource:
        assert cover == (32, 32)
        return StreamSource(frames_until_ctrl_c(), name=f"camera {camera}", is_live=True)

    class Noting(streaming.StreamingClassifier):
        def __init__(self, loaded: Any, *, memory_seconds: float | None, **options: Any) -> None:
            memories.append(memory_seconds)
            super().__init__(loaded, memory_seconds=memory_seconds, **options)

    memories: list[float | None] = []
    monkeypatch.setattr("odevision.data.webcam.open_webcam", open_camera)
    monkeypatch.setattr("odevision.evaluation.predict_video.StreamingClassifier", Noting)
    outcome = invoke("predict", video_run, "--webcam")
    assert outcome.code == 0
    assert "camera 0" in outcome.out and "5 frames" in outcome.out
    assert memories == [CAMERA_MEMORY_SECONDS]
    assert outcome.err.count(" s  ") == 5  # an answer after each frame, while it goes on


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.mp4", "--crops", "3"], "`--crops` needs a network of images"),
        (["--webcam", "a.mp4"], "`--webcam` watches a camera: leave out PATH"),
        (["--camera", "3", "a.mp4"], "`--camera` says which camera to watch: add --webcam"),
        (["--webcam", "--image-rate", "5"], "`--image-rate` is for images"),
        (["a.mp4", "--out", "x"], "`--out` is the folder for --csv, --plot and --caption"),
        (["a.mp4", "--raw", "4x3"], "the PATH must be -"),
        (["-", "--raw", "4x3"], "add --image-rate"),
        ([], "`PATH` is missing"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    invoke, video_run: Path, words: list[str], message: str
) -> None:
    outcome = invoke("predict", video_run, *words)
    assert outcome.code == 2 and message in outcome.err


def test_options_of_videos_are_refused_for_images(invoke, video_run: Path) -> None:
    outcome = invoke("predict", "mnist", "a.png", "--stop-when-sure", "0.9")
    assert outcome.code == 2
    assert "`--stop-when-sure` needs a network of videos; mnist is none" in outcome.err
    outcome = invoke("evaluate", "mnist", "--rates")
    assert outcome.code == 2 and "`--rates` needs a network of videos" in outcome.err
    outcome = invoke("evaluate", video_run, "--sweep")
    assert outcome.code == 2 and "`--sweep` needs a network of images" in outcome.err


def test_plot_draws_strips_and_curves(invoke, video_run: Path, tmp_path: Path) -> None:
    outcome = invoke("plot", video_run, "--limit", "12", "--out", tmp_path / "pictures")
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "confusion.png",
        "nfe.png",
        "predictions.png",
        "seen.png",
        "share_watched.png",
        "training_curves.png",
    ]


@pytest.mark.parametrize("verb", ["calibrate", "benchmark"])
def test_verbs_for_images_say_so(invoke, video_run: Path, verb: str) -> None:
    outcome = invoke(verb, video_run)
    assert outcome.code == 2
    assert "must be a network of images here, got video-odernn" in outcome.err
    if verb == "benchmark":
        outcome = invoke(verb, "video-odernn")
        assert outcome.code == 2 and "must be a network of images" in outcome.err


def test_lists_name_what_there_is_for_videos(invoke) -> None:
    assert "video-odernn" in invoke("models").out
    assert "motion" in invoke("recipes").out
    assert "ucf5" in invoke("datasets").out


def with_still_clock(path: Path) -> Path:
    path.write_bytes(with_stopped_clock(encode(path, [(48, 64)] * 9).read_bytes()))
    return path


def with_two_sizes(path: Path) -> Path:
    parts = [
        encode(path.with_name(f"{i}.ts"), [size] * 5, codec="mpeg2video", rate=25).read_bytes()
        for i, size in enumerate([(32, 48), (64, 64)])
    ]
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize(
    ("name", "make", "warning"),
    [
        ("one.mp4", lambda path: encode(path, [(48, 64)]), ""),
        ("named.txt", lambda path: encode(path, [(48, 64)] * 9, container="mp4"), ""),
        ("4k.mp4", lambda path: encode(path, [(2160, 3840)] * 3), ""),
        ("sound.avi", lambda path: encode(path, [(48, 64)] * 9, with_sound=True), ""),
        ("clock.mp4", with_still_clock, "have no time, or one that does not rise"),
        ("sizes.ts", with_two_sizes, "changes its resolution"),
    ],
)
def test_odd_videos_are_answered_with_a_warning_where_one_is_due(
    invoke, video_run: Path, tmp_path: Path, caplog, name: str, make, warning: str
) -> None:
    path = make(tmp_path / name)
    outcome = invoke("predict", video_run, path, "--json")
    assert outcome.code == 0, outcome.err
    (prediction,) = json.loads(outcome.out)["predictions"]
    assert prediction["num_frames"] >= 1
    assert warning in caplog.text
    assert warning or not caplog.records


@pytest.mark.parametrize(
    ("option", "file", "message"),
    [
        ("--csv", "probabilities.csv", "could not be written"),
        ("--caption", "caption.mp4", "cannot be written"),
    ],
)
def test_what_cannot_be_written_leaves_the_answer(
    invoke, video_run: Path, videos: Path, tmp_path: Path, option: str, file: str, message: str
) -> None:
    video, *_ = sorted(videos.rglob("*.mp4"))
    (tmp_path / f"{video.stem}-{file}").mkdir()
    outcome = invoke("predict", video_run, video, option, "--out", tmp_path, "--json")
    assert outcome.code == 2
    found = json.loads(outcome.out)
    assert len(found["predictions"]) == 1
    assert message in found["errors"][0]["message"]


def test_a_caption_that_was_broken_off_leaves_the_old_video(tmp_path: Path) -> None:
    from odevision.cli.caption_video import write_captioned

    def predict(on_frame: Any) -> Any:
        on_frame(Frame(image=torch.zeros(3, 32, 32, dtype=torch.uint8), seconds=0.0), torch.ones(1))
        raise KeyboardInterrupt

    path = tmp_path / "old.mp4"
    path.write_bytes(b"old")
    loaded = SimpleNamespace(card=SimpleNamespace(class_names=("a",)))
    with pytest.raises(KeyboardInterrupt):
        write_captioned(predict, loaded, None, path)  # pyright: ignore[reportArgumentType]
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("stop", "code", "message"),
    [(KeyboardInterrupt(), 130, ""), (ValueError("out of the blue"), 2, "out of the blue")],
)
def test_what_stops_a_list_of_videos_leaves_the_answers_so_far(
    invoke,
    video_run: Path,
    videos: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: BaseException,
    code: int,
    message: str,
) -> None:
    from odevision.evaluation import predict_video

    first, second, *_ = sorted(videos.rglob("*.mp4"))
    predict_stream = predict_video.predict_stream

    def stopped_at_second(loaded: Any, source: Any, **options: Any) -> Any:
        if source.path == second:
            raise stop
        return predict_stream(loaded, source, **options)

    monkeypatch.setattr(predict_video, "predict_stream", stopped_at_second)
    outcome = invoke("predict", video_run, first, second, "--json")
    assert outcome.code == code and message in outcome.err
    assert [one["path"] for one in json.loads(outcome.out)["predictions"]] == [str(first)]
