"""Classify a video while it is being seen: frame by frame, at constant work and memory."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils import _pytree as pytree

from odevision.data.clip_sampling import tick_of
from odevision.data.video_frame import rgb_image
from odevision.models.video import RecurrentVideoNet, VideoState
from odevision.ode.clock import clock_dtype
from odevision.training.card import LoadedModel
from odevision.types import Clips, Number

_SMALL = 1_000_000
"""Parameters; below, the operations on one frame are too little work to be shared by threads."""


class StreamTimeError(ValueError):
    """A frame came with a time that is not behind that of the frame before it."""


def can_stream(loaded: LoadedModel) -> bool:
    """Whether a network answers after each frame; others take whole clips only."""
    return isinstance(loaded.model, RecurrentVideoNet)


def can_forget(loaded: LoadedModel) -> bool:
    """Whether a network's answer is of a mean over the frames, in which old ones can weigh less."""
    return isinstance(loaded.model, RecurrentVideoNet) and loaded.model.end is None


@contextlib.contextmanager
def threads_for_frames(loaded: LoadedModel) -> Iterator[None]:
    """Let PyTorch use one CPU thread while a small network takes frames one at a time.

    Threads that wait for each other hundreds of times a frame cost more than they take over.

    Args:
        loaded: The network; one of a million parameters or more, or on a GPU, keeps all threads.
    """
    before = torch.get_num_threads()
    parameters = list(loaded.model.parameters())
    if parameters[0].device.type == "cpu" and sum(p.numel() for p in parameters) < _SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamSnapshot:
    """All that a stream remembers, to be saved and restored.

    Args:
        model: What the network is, so that a snapshot of another one is refused.
        tensors: The network's state, flat; None before the first frame.
        first_seconds: Time of the first frame that was pushed; None before it.
        latest_seconds: Time of the latest frame that was pushed; None before it.
        tick: Of the latest frame that was looked at.
        num_frames: Frames looked at so far.
    """

    model: str
    tensors: tuple[Tensor, ...] | None
    first_seconds: float | None
    latest_seconds: float | None
    tick: int
    num_frames: int


class StreamingClassifier:
    """Takes frames as they come and has an answer at any time.

    Each frame costs the same, however many came before; what is remembered is the network's state
    and nothing else. The answer after a frame is what the network would say of the whole video up
    to it, to rounding.

    Frames that come faster than the rate the network was trained at are skipped by their times, so
    that a stream at 60 frames a second is seen as the training videos were; `every_frame` looks at
    all of them. On a CPU `threads_for_frames` saves a third of a small network's time.

    Networks that pool over time weigh all frames alike, so after an hour one more second changes
    nothing. `memory_seconds` lets them forget: what lies so far back counts by 1/e = 37 %.

    Attributes:
        class_names: One a probability.
        num_frames: Frames looked at so far.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        every_frame: bool = False,
        memory_seconds: Number | None = None,
    ) -> None:
        """Begin before the first frame.

        Args:
            loaded: A recurrent network of videos.
            every_frame: Look at each frame that is pushed.
            memory_seconds: Time after which a frame's weight has fallen to 1/e, above 0; None
                forgets nothing, as in training.

        Raises:
            ValueError: If the network takes images, or whole clips only, or a number is out of
                range.
        """
        if memory_seconds is not None and not memory_seconds > 0:
            raise ValueError(f"`memory_seconds` must be above 0, got {memory_seconds}. Try 10.")
        self._preprocessing = loaded.clip_preprocessing
        if not can_stream(loaded):
            raise ValueError(
                f"`loaded` must be a network that can stream, got {loaded.card.model_name}, which "
                "takes whole clips only. Try a recurrent one, such as video-odernn."
            )
        if memory_seconds is not None and not can_forget(loaded):
            raise ValueError(
                "`memory_seconds` must be left out with "
                f"{loaded.card.model_name}, which looks at its latest state and not at a mean."
            )
        self._network = cast(RecurrentVideoNet, loaded.model)
        # On the host: not every device has float64.
        weights = sum(p.detach().cpu().double().sum().item() for p in loaded.model.parameters())
        self._identity = f"{loaded.card.model_name} {loaded.card.model} {weights:.12g}"
        self.class_names: tuple[str, ...] = tuple(loaded.card.class_names)
        self._every_frame = every_frame
        self._memory_seconds = memory_seconds
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._state: VideoState | None = None
        self._first: float | None = None
        self._latest: float | None = None
        self._tick = -1
        self.num_frames = 0
        share = 1 / len(self.class_names)
        self._probabilities = torch.full((len(self.class_names),), share)

    @property
    def probabilities(self) -> Float[Tensor, " classes"]:
        """Class probabilities after the latest frame, on the CPU; equal ones before the first."""
        return self._probabilities

    @property
    def label(self) -> str:
        """Name of the most probable class."""
        return self.class_names[int(self._probabilities.argmax())]

    @torch.inference_mode()
    def push(
        self, frame: UInt8[Tensor, "*channels height width"] | np.ndarray, seconds: Number
    ) -> Float[Tensor, " classes"]:
        """Take in a frame.

        Args:
            frame: Values 0 to 255 in uint8, RGB or gray, of any size: a tensor with the channels
                first, or an array with the channels last.
            seconds: Its time, on any clock, later than that of the frame before it.

        Returns:
            Class probabilities after it, on the CPU.

        Raises:
            StreamTimeError: If the time is not later; the stream can go on with the next frame.
            ValueError: If the frame has another shape or type, or the time is not finite.
        """
        image = rgb_image(frame, name="frame")
        seconds = float(seconds)
        if not math.isfinite(seconds):
            raise ValueError(f"`seconds` must be a finite number, got {seconds}.")
        if self._latest is not None and seconds <= self._latest:
            raise StreamTimeError(
                f"`seconds` must rise from frame to frame, got {seconds} after {self._latest}. "
                "Leave the frame out, or call reset() where a new video begins."
            )
        if self._first is None:
            self._first = seconds
        self._latest = seconds
        tick = tick_of(seconds - self._first, self._preprocessing.rate)
        if not self._every_frame and tick <= self._tick:
            return self._probabilities
        self._tick = tick
        self._look(image, seconds - self._first)
        return self._probabilities

    def _look(self, image: Tensor, seconds: float) -> None:
        device = next(self._network.parameters()).device
        height, width = self._preprocessing.size
        if self._state is None:
            self._state = self._network.initial_state(1, height, width)
        frame = self._preprocessing.to_uint8(image)[None, None].to(device)
        # After hours a float32 could not tell one frame's time from the next one's.
        times = torch.tensor([[seconds]], dtype=clock_dtype(device), device=device)
        mask = torch.ones(1, 1, dtype=torch.bool, device=device)
        clips = Clips(self._preprocessing.normalize(frame), times, mask)
        if self._memory_seconds is not None:
            share = torch.exp((self._state.seconds - times[0]) / self._memory_seconds)
            self._state = self._state._replace(pooled=self._state.pooled.faded(share))
        self._state = self._network.advance(self._state, clips)
        self._probabilities = self._answer(self._state)
        self.num_frames += 1

    def _answer(self, state: VideoState) -> Tensor:
        return self._network.logits(state)[0].float().softmax(dim=0).cpu()

    def snapshot(self) -> StreamSnapshot:
        """Return all that the stream remembers.

        `torch.save(vars(snapshot), path)` keeps it; `StreamSnapshot(**torch.load(path))` reads it,
        on another kind of device too: its tensors are on the CPU.
        """
        tensors = None
        if self._state is not None:
            tensors = tuple(leaf.cpu().clone() for leaf in pytree.tree_leaves(self._state))
        return StreamSnapshot(
            model=self._identity,
            tensors=tensors,
            first_seconds=self._first,
            latest_seconds=self._latest,
            tick=self._tick,
            num_frames=self.num_frames,
        )

    @torch.inference_mode()
    def restore(self, snapshot: StreamSnapshot) -> None:
        """Go on where a snapshot was taken, in this process or another one.

        Args:
            snapshot: From `snapshot`, of the same network.

        Raises:
            ValueError: If it is of another network.
        """
        if snapshot.model != self._identity:
            raise ValueError(
                f"`snapshot` must be of this network ({self._identity.split()[0]}), got one of "
                f"{snapshot.model.split()[0]} with other settings or weights."
            )
        self.reset()
        if snapshot.tensors is not None:
            fresh: Any = self._network.initial_state(1, *self._preprocessing.size)
            leaves, structure = pytree.tree_flatten(fresh)
            moved = [t.to(leaf.device) for t, leaf in zip(snapshot.tensors, leaves, strict=True)]
            state: VideoState = pytree.tree_unflatten(moved, structure)
            self._state = state
            self._probabilities = self._answer(state)
        self._first, self._latest = snapshot.first_seconds, snapshot.latest_seconds
        self._tick, self.num_frames = snapshot.tick, snapshot.num_frames
