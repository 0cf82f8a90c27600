"""The figure of the solver study: what it says."""

import pytest
from test_figures import check_texts

from odevision.visual import SolverTraining, plot_solver_study


def trainings(nfe_backward: float = 0.0) -> list[SolverTraining]:
    """Two groups of solvers, the names as long as they come."""
    names = {
        "4 evaluations a block": ("euler, 4 steps", "dopri5, 1 step (6 evaluations)"),
        "rtol = atol = 0.001": ("heun, 0.001", "dopri5, 0.001", "tsit5, 0.001"),
    }
    return [
        SolverTraining(
            name=name,
            group=group,
            accuracy=0.9 + 0.001 * len(name),
            accuracy_std=0.002,
            seconds=100.0 * len(name),
            nfe_forward=12.0,
            nfe_backward=nfe_backward,
            peak_bytes=2.0**30,
        )
        for group, members in names.items()
        for name in members
    ]


@pytest.mark.parametrize("nfe_backward", [0.0, 12.0])
def test_no_text_leaves_the_study_or_covers_another(nfe_backward: float) -> None:
    check_texts(plot_solver_study(trainings(nfe_backward), title="odenet-stacked, noise"))


def test_every_training_has_a_row_and_every_group_a_head() -> None:
    axes = plot_solver_study(trainings()).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [one.name for one in trainings()]
    assert {text.get_text() for text in axes.texts} == {one.group for one in trainings()}


def test_memory_is_drawn_in_mebibytes() -> None:
    bars = plot_solver_study(trainings()).axes[3].patches
    assert {bar.get_width() for bar in bars} == {1024.0}  # pyright: ignore


def test_evaluations_of_the_backward_pass_stand_behind_those_of_the_forward_pass() -> None:
    axes = plot_solver_study(trainings(6.0)).axes[2]
    backward = [bar for bar in axes.patches if bar.get_x() > 0]  # pyright: ignore
    assert {(bar.get_x(), bar.get_width()) for bar in backward} == {(12.0, 6.0)}  # pyright: ignore
    assert axes.get_xlim()[1] > 18
    assert "backward" in axes.get_xlabel()


def test_a_study_without_trainings_is_refused() -> None:
    with pytest.raises(ValueError, match="`trainings` must"):
        plot_solver_study([])
