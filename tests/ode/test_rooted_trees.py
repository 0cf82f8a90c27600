"""The generator of order conditions is right itself."""

import math
from collections import Counter
from fractions import Fraction

import pytest
from rooted_trees import Tree, defect, density, num_nodes, trees, worst_defect

HALF = Fraction(1, 2)


def symmetry(tree: Tree) -> int:
    """Number of ways to swap equal branches."""
    return math.prod(math.factorial(m) * symmetry(b) ** m for b, m in Counter(tree).items())


def test_there_are_as_many_rooted_trees_as_cayley_counted() -> None:
    assert [len(trees(n)) for n in range(1, 10)] == [1, 1, 2, 4, 9, 20, 48, 115, 286]


def test_a_tree_has_the_nodes_it_was_made_for() -> None:
    assert all(num_nodes(tree) == n for n in range(1, 10) for tree in trees(n))


def test_tall_and_bushy_trees_have_their_textbook_densities() -> None:
    assert density(((((),),),)) == 24
    assert density(((), (), ())) == 4


@pytest.mark.parametrize("n", range(1, 10))
def test_the_trees_of_one_size_can_be_grown_in_as_many_ways_as_their_nodes_can_be_added(
    n: int,
) -> None:
    ways = sum(Fraction(math.factorial(n), symmetry(t) * density(t)) for t in trees(n))
    assert ways == math.factorial(n - 1)


def test_the_implicit_midpoint_rule_has_order_2_and_misses_order_3_by_a_twelfth() -> None:
    assert worst_defect(1, [[HALF]], [1]) == worst_defect(2, [[HALF]], [1]) == 0
    assert defect(((), ()), [[HALF]], [1]) == pytest.approx(1 / 12)
    assert worst_defect(3, [[HALF]], [1]) == pytest.approx(1 / 12)


def test_a_defect_inside_the_step_is_measured_against_the_state_there() -> None:
    assert worst_defect(2, [[HALF]], [HALF], HALF) == pytest.approx(1 / 8)
