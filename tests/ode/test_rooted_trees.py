"""The generator of order conditions is right itself."""

from rooted_trees import density, num_nodes, trees


def test_there_are_as_many_rooted_trees_as_cayley_counted() -> None:
    assert [len(trees(n)) for n in range(1, 7)] == [1, 1, 2, 4, 9, 20]


def test_a_tree_has_the_nodes_it_was_made_for() -> None:
    assert all(num_nodes(tree) == n for n in range(1, 7) for tree in trees(n))


def test_tall_and_bushy_trees_have_their_textbook_densities() -> None:
    assert density(((((),),),)) == 24
    assert density(((), (), ())) == 4
