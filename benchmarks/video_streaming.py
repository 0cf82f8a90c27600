"""A ten-minute video through the streaming classifier: frames a second, and memory that stays.

    python -m benchmarks.video_streaming MODEL [VIDEO...] [--minutes 10] [--save]

The video is made of the given ones, played over and over at 25 frames a second (without one, of
`motion` clips enlarged to 320 x 240), and encoded as a real MP4 before anything is measured. It is
then decoded, shrunk and classified frame by frame, each frame looked at. Resident memory is read
every second of the video. A second pass looks at as many frames a second as in training, which is
what `odevision predict` does. Both use as many threads as `predict` would.
"""

import argparse
import datetime
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import interpolate

from benchmarks.measure import commit, machine, status_bytes
from odevision.data.motion import load_motion
from odevision.data.video import open_video
from odevision.data.video_frame import Frame
from odevision.data.video_writer import write_video
from odevision.evaluation.streaming import StreamingClassifier, threads_for_frames
from odevision.training.checkpoint import LoadedModel, load_checkpoint

RESULTS = Path(__file__).parent / "results"
RATE = 25
SIZE = (240, 320)
SETTLED_SECONDS = 10


def pictures(videos: list[Path]) -> Iterator[torch.Tensor]:
    """Frames without end, 320 x 240."""
    if videos:
        for video in itertools.cycle(videos):
            with open_video(video, size=SIZE) as reader:
                yield from (frame.image for frame in reader)
    motion = load_motion("test")
    for index in itertools.cycle(range(len(motion))):
        small = motion.frames(index, torch.arange(0, 128, 2))
        yield from interpolate(small, SIZE, mode="nearest")


def make_video(path: Path, videos: list[Path], minutes: float) -> int:
    """Encode the long video; its number of frames."""
    num_frames = round(60 * RATE * minutes)
    chosen = itertools.islice(pictures(videos), num_frames)
    write_video(path, (Frame(image=x, seconds=i / RATE) for i, x in enumerate(chosen)), quality=23)
    return num_frames


def watch(loaded: LoadedModel, path: Path) -> dict[str, Any]:
    """Classify the video frame by frame."""
    stream = StreamingClassifier(loaded, every_frame=True)
    resident: list[tuple[float, int]] = []
    lap_seconds: list[float] = []
    with open_video(path, cover=loaded.clip_preprocessing.size) as reader:
        lap = time.perf_counter()
        for frame in reader:
            stream.push(frame.image, frame.seconds)
            if stream.num_frames % RATE == 0:
                now = time.perf_counter()
                lap_seconds.append(now - lap)
                resident.append((frame.seconds, status_bytes("VmRSS")))
                lap = time.perf_counter()
    settled = [num for seconds, num in resident if seconds >= SETTLED_SECONDS]
    thirds = max(1, len(lap_seconds) // 3)
    return {
        "num_frames": stream.num_frames,
        "video_seconds": resident[-1][0],
        "frames_per_second": RATE / statistics.median(lap_seconds),
        "frames_per_second_first_third": RATE / statistics.median(lap_seconds[:thirds]),
        "frames_per_second_last_third": RATE / statistics.median(lap_seconds[-thirds:]),
        "resident_least": min(settled),
        "resident_most": max(settled),
        "resident": resident,
    }


def watch_at_own_rate(loaded: LoadedModel, path: Path) -> dict[str, float]:
    """Classify the video as `predict` does; its frames over the time that takes."""
    stream, num_frames = StreamingClassifier(loaded), 0
    with open_video(path, cover=loaded.clip_preprocessing.size) as reader:
        started = time.perf_counter()
        for frame in reader:
            stream.push(frame.image, frame.seconds)
            num_frames += 1
        seconds = time.perf_counter() - started
    return {
        "share_looked_at": stream.num_frames / num_frames,
        "frames_per_second_as_predict": num_frames / seconds,
    }


def report(model: str, size: tuple[int, int], result: dict[str, Any], hardware: str) -> str:
    """The result as Markdown."""
    least, most = result["resident_least"], result["resident_most"]
    return "\n".join(
        [
            f"# A long video through {model}, {datetime.date.today()}",
            "",
            f"`python -m benchmarks.video_streaming {model}`, commit {commit()}; "
            f"{SIZE[1]} x {SIZE[0]} H.264 at {RATE} frames a second, "
            f"looked at in {size[1]} x {size[0]}; {hardware}.",
            "",
            "| | |",
            "| --- | --- |",
            f"| frames | {result['num_frames']:,} ({result['video_seconds']:.0f} s) |",
            f"| frames a second, decoding included (median) | {result['frames_per_second']:.0f} |",
            f"| first third, last third | {result['frames_per_second_first_third']:.0f}, "
            f"{result['frames_per_second_last_third']:.0f} |",
            f"| resident MiB after {SETTLED_SECONDS} s, least and most | {least / 2**20:.1f}, "
            f"{most / 2**20:.1f} ({most / least - 1:.2%} apart) |",
            f"| frames a second as `predict`, which looks at {result['share_looked_at']:.0%} | "
            f"{result['frames_per_second_as_predict']:.0f} |",
            "",
        ]
    )


def main() -> None:
    """Make the video, watch it, print, and write the result if asked to."""
    parser = argparse.ArgumentParser(description="Stream a ten-minute video.")
    parser.add_argument("model")
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    loaded = load_checkpoint(options.model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        make_video(path, options.videos, options.minutes)
        with threads_for_frames(loaded):
            result = watch(loaded, path) | watch_at_own_rate(loaded, path)
            hardware = machine()
    name = loaded.card.recipe
    text = report(name, loaded.clip_preprocessing.size, result, hardware)
    print(text)
    if options.save:
        stem = RESULTS / f"video-streaming-{name}-{datetime.date.today()}"
        stem.with_suffix(".md").write_text(text, encoding="utf-8")
        stem.with_suffix(".json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
