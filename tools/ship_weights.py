"""Put a trained run among the weights that come along with the package.

    odevision evaluate RUN --data-root DATA --consistency --json > evaluation.json
    python tools/ship_weights.py RUN NAME evaluation.json

Copies the newest checkpoint and the metrics of its run to odevision/weights/NAME, without the
training state, and adds what was measured on the test set to the card. --sweep, --corruptions,
--mirror, --ood, --rates and --watched of `evaluate` go into the card too, where they were asked
for; they may lie in documents of their own, all of the same checkpoint, behind the first:

    python tools/ship_weights.py RUN NAME evaluation.json sweep.json corruptions.json
"""

import dataclasses
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from odevision.training.checkpoint import STATE_FILE, Card, find_checkpoint, read_card

KEPT = ("accuracy", "loss", "num_samples", "nfe", "per_class")
SECTIONS = ("consistency", "sweep", "corruptions", "mirror", "ood", "rates", "watched")
CALIBRATION = ("ece", "calibrated_ece", "calibrated_loss")


def measured(documents: Sequence[Mapping[str, Any]], card: Card) -> dict[str, Any]:
    """Gather what `odevision evaluate --json` found, as a card's metrics.

    Args:
        documents: of one network; the first holds its accuracy on the whole test set.
        card: of the network.

    Returns:
        Metrics whose names begin with `test_`.

    Raises:
        ValueError: a document is of another network or data set, or the consistency is missing.
    """
    first = documents[0]
    for document in documents:
        if document["split"] != "test" or document["data"] != card.dataset:
            raise ValueError(f"every evaluation must be of the test split of {card.dataset}")
        if document["checkpoint"] != first["checkpoint"]:
            raise ValueError(
                "every evaluation must be of the same checkpoint, got "
                f"{first['checkpoint']} and {document['checkpoint']}"
            )
        if document["solver"] != first["solver"]:
            raise ValueError("every evaluation must be under the same solver settings")
    metrics = {f"test_{key}": first[key] for key in KEPT}
    if "calibration" in first:
        metrics |= {f"test_{key}": first["calibration"][key] for key in CALIBRATION}
    for section in SECTIONS:
        found = [document for document in documents if section in document]
        if found:
            # A long section may have been measured on fewer images: then it says on how many.
            metrics[f"test_{section}"] = found[-1][section]
            if found[-1]["num_samples"] != first["num_samples"]:
                metrics[f"test_{section}_num_samples"] = found[-1]["num_samples"]
    if card.solver and "test_consistency" not in metrics:
        raise ValueError("an ODE network is evaluated with --consistency before it ships")
    return metrics


def main() -> None:
    """Copy one run."""
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    run, name = Path(sys.argv[1]), sys.argv[2]
    documents = [json.loads(Path(file).read_text(encoding="utf-8")) for file in sys.argv[3:]]
    checkpoint = find_checkpoint(run)
    card = read_card(checkpoint)
    try:
        card = dataclasses.replace(card, metrics={**card.metrics, **measured(documents, card)})
    except ValueError as error:
        sys.exit(str(error))
    target = Path(__file__).resolve().parents[1] / "odevision" / "weights" / name
    target.mkdir(parents=True, exist_ok=True)
    for file in checkpoint.iterdir():
        if file.name != STATE_FILE:
            shutil.copy(file, target / file.name)
    shutil.copy(run / "metrics.jsonl", target / "metrics.jsonl")
    (target / "card.json").write_text(card.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
