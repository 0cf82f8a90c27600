import pytest
import torch

from odevision.training.device import build_accelerator, peak_memory_bytes


def test_two_runs_in_one_process_may_differ_in_precision(small_config) -> None:
    assert build_accelerator(small_config()).mixed_precision == "no"
    assert build_accelerator(small_config(precision="bf16")).mixed_precision == "bf16"
    assert build_accelerator(small_config()).device.type == "cpu"


def test_missing_device_is_refused(small_config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="`device` must be one that this machine has, got cuda"):
        build_accelerator(small_config(device="cuda"))


def test_memory_is_counted_in_bytes() -> None:
    assert peak_memory_bytes(torch.device("cpu")) > 50 * 2**20  # torch alone takes more
