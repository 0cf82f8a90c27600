import logging
import platform
import subprocess
import sys

import pytest
import torch

from odevision.training import device
from odevision.training.device import build_accelerator, peak_memory_bytes


def test_two_runs_in_one_process_may_differ_in_precision(
    small_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "why_not_bf16", lambda name: None)
    assert build_accelerator(small_config()).mixed_precision == "no"
    assert build_accelerator(small_config(precision="bf16")).mixed_precision == "bf16"
    assert build_accelerator(small_config()).device.type == "cpu"


@pytest.mark.parametrize("is_known", [True, False])
def test_bf16_on_a_cpu_without_it_becomes_float32_with_a_warning(
    small_config,
    is_known: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        if is_known:
            monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
        else:
            monkeypatch.delattr(torch.cpu, name, raising=False)
    with caplog.at_level(logging.WARNING):
        assert build_accelerator(small_config(precision="bf16")).mixed_precision == "no"
    assert caplog.text.count("computes in float32 instead, because this CPU") == 1


def test_bf16_that_accelerate_refuses_becomes_float32(
    small_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "is_bf16_available", lambda ignore_tpu: False)
    assert build_accelerator(small_config(precision="bf16")).mixed_precision == "no"


def test_missing_device_is_refused(small_config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="`device` must be one that this machine has, got cuda"):
        build_accelerator(small_config(device="cuda"))


def test_memory_is_counted_in_bytes() -> None:
    assert peak_memory_bytes(torch.device("cpu")) > 50 * 2**20  # torch alone takes more


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_large_blocks_are_taken_again_once_they_were_freed() -> None:
    # In a process of its own: the setting stays for good.
    program = """
import resource, sys, torch
from odevision.training.device import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if len(sys.argv) > 1:
    keep_freed_memory(torch.device("cpu"))
faults()
print(faults())
"""

    def count(*words: str) -> int:
        call = [sys.executable, "-c", program, *words]
        return int(subprocess.run(call, capture_output=True, text=True, check=True).stdout)

    assert count("kept") < 0.1 * count()
