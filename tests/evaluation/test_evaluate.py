import torch

from odevision.evaluation.evaluate import evaluate, per_class_accuracy
from odevision.training.checkpoint import LoadedModel


def test_a_class_that_does_not_occur_has_no_accuracy() -> None:
    confusion = torch.tensor([[3, 1], [0, 0]])
    assert per_class_accuracy(confusion, ("cat", "dog")) == {"cat": 0.75}


def test_the_confusion_matrix_agrees_with_the_accuracy(loaded: LoadedModel) -> None:
    found = evaluate(loaded, limit=40)
    matrix = torch.tensor(found.confusion_matrix)
    assert int(matrix.sum()) == found.num_samples == 40
    assert float(matrix.diagonal().sum()) / 40 == found.accuracy
