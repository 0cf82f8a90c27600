"""Put a trained run among the weights that come along with the package.

    odevision evaluate RUN --data-root DATA --consistency --json > evaluation.json
    python tools/ship_weights.py RUN NAME evaluation.json

Copies the weights and the metrics of the newest checkpoint to odevision/weights/NAME, without the
training state, and adds what was measured on the test set to the card.
"""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

from odevision.training.checkpoint import WEIGHTS_FILE, find_checkpoint, read_card

KEPT = ("accuracy", "loss", "num_samples", "nfe", "per_class")


def main() -> None:
    """Copy one run."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    run, name, evaluation = (
        Path(sys.argv[1]),
        sys.argv[2],
        json.loads(Path(sys.argv[3]).read_text()),
    )
    checkpoint = find_checkpoint(run)
    card = read_card(checkpoint)
    if evaluation["split"] != "test" or evaluation["data"] != card.dataset:
        sys.exit(f"the evaluation must be of the test split of {card.dataset}")
    measured = {f"test_{key}": evaluation[key] for key in KEPT}
    measured["test_consistency"] = evaluation["consistency"]
    card = dataclasses.replace(card, metrics={**card.metrics, **measured})
    target = Path(__file__).resolve().parents[1] / "odevision" / "weights" / name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(checkpoint / WEIGHTS_FILE, target / WEIGHTS_FILE)
    shutil.copy(run / "metrics.jsonl", target / "metrics.jsonl")
    (target / "card.json").write_text(card.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
