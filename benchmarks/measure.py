"""Measure seconds and peak bytes of calls, side by side in one process; say on what."""

import ctypes
import gc
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Call = Callable[[], object]


def interleaved_seconds(calls: Mapping[str, Call], *, repeats: int) -> dict[str, list[float]]:
    """Wall seconds of each call, `repeats` times, in turn, so that noise falls on all alike.

    Each call runs twice before anything is measured.
    """
    for call in calls.values():
        call()
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the paired ratios theirs / ours; above 1 means that ours is faster."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def peak_bytes(call: Call) -> int | None:
    """Most resident memory that a call adds while it runs, in bytes; None where Linux is not.

    Freed memory is given back to the system first, so that it does not hide what the call takes.
    """
    call()
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        before = status_bytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    except OSError:
        return None
    call()
    return status_bytes("VmHWM") - before


def status_bytes(field: str) -> int:
    """A field of /proc/self/status that is in kB, such as VmRSS, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def machine() -> str:
    """The hardware in one line."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        pass
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def commit() -> str:
    """Short name of the source's commit, with + if it was changed since; unknown without git."""
    here = Path(__file__).parent
    try:
        name, changes = (
            subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True)
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "-uno"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + ("+" if changes.stdout.strip() else "")
