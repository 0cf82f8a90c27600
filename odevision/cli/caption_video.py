"""Predict a video and write it with the answers in it, at the same time."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odevision.cli.output import notes_console

if TYPE_CHECKING:
    from odevision.data.video_frame import Frame
    from odevision.evaluation.predict_video import VideoPrediction
    from odevision.training.card import LoadedModel


def write_captioned(
    predict: Callable[[Any], "VideoPrediction"],
    loaded: "LoadedModel",
    originals: "Iterator[Frame] | None",
    path: Path,
) -> "tuple[VideoPrediction, OSError | None]":
    """Predict while the frames, each with the answer in it, are encoded one by one.

    Args:
        predict: takes what is to be called with each frame and the answer after it.
        loaded: names the classes.
        originals: the same frames at their own size; None takes those that are predicted from.
        path: of the new video.

    Returns:
        The prediction, and why the video could not be written, if so. An exception in the
        prediction leaves what was at `path`.
    """
    from odevision.data.video_frame import Frame
    from odevision.data.video_writer import write_video
    from odevision.visual import burn_caption

    # The writer takes frames and the prediction gives them, so one of them needs its own thread.
    frames: queue.Queue[Frame | None] = queue.Queue(maxsize=16)
    failure: list[BaseException] = []
    is_over, is_broken_off = threading.Event(), threading.Event()

    def taken() -> Iterator[Frame]:
        yield from iter(frames.get, None)
        is_over.set()
        if is_broken_off.is_set():  # so that a part of a video takes no whole one's place
            raise InterruptedError("the prediction was broken off")

    def write() -> None:
        try:
            write_video(path, taken())
        except BaseException as error:
            failure.append(error)
            # So that the prediction does not wait for ever for someone to take its frames.
            while not is_over.is_set() and frames.get() is not None:
                pass

    def on_frame(frame: Frame, probabilities: Any) -> None:
        best = int(probabilities.argmax())
        share = float(probabilities[best])
        text = f"{loaded.card.class_names[best]} {share:.0%}"
        original = frame if originals is None else next(originals, frame)
        image = burn_caption(original.image, text, share)
        frames.put(Frame(image=image, seconds=frame.seconds))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        prediction = predict(on_frame)
    except BaseException:
        is_broken_off.set()
        raise
    finally:
        frames.put(None)
        writer.join()
    for error in failure:
        if isinstance(error, OSError):
            return prediction, error
        raise error
    notes_console().print(f"wrote {path}", markup=False, soft_wrap=True)
    return prediction, None
