"""The measurements a training run left in its `metrics.jsonl`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainingHistory:
    """Measurements of one run in the order they were made.

    Args:
        epochs: one record an epoch (`epoch`, `train_loss`, `validation_loss`, ...).
        steps: one record every few steps (`step`, `epoch`, `loss`, `nfe_forward`, ...).
    """

    epochs: tuple[Mapping[str, Any], ...]
    steps: tuple[Mapping[str, Any], ...]


def read_history(path: Path) -> TrainingHistory:
    """Read a run's `metrics.jsonl`.

    Args:
        path: the file.

    Returns:
        Its records by kind. An unfinished last line, as a killed run leaves it, is skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line other than the last is not a JSON object.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise ValueError(f"{path}, line {number}: not a JSON object")
        records.append(record)
    return TrainingHistory(
        epochs=tuple(record for record in records if record.get("event") == "epoch"),
        steps=tuple(record for record in records if record.get("event") == "train"),
    )
