"""Rooted trees and the order conditions of Runge-Kutta methods that belong to them.

A tree is the sorted tuple of its branches; the single node is (). A method has order p if, for
every tree of at most p nodes, sum_i b_i Phi_i(tree) = 1 / density(tree); see Hairer, Norsett,
Wanner: Solving ODEs I, section II.2. All arithmetic is exact.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

Tree = tuple  # of Trees


@cache
def trees(num_nodes: int) -> tuple[Tree, ...]:
    """All rooted trees with so many nodes: 1, 1, 2, 4, 9, 20 of them."""
    return tuple(sorted(_forests(num_nodes - 1, num_nodes - 1)))


def _forests(num_nodes: int, largest: int) -> list[tuple[Tree, ...]]:
    """Multisets of trees with num_nodes in all and at most `largest` in each."""
    if num_nodes == 0:
        return [()]
    found = set()
    for size in range(1, min(num_nodes, largest) + 1):
        for tree in trees(size):
            for rest in _forests(num_nodes - size, size):
                found.add(tuple(sorted((tree, *rest))))
    return list(found)


def num_nodes(tree: Tree) -> int:
    return 1 + sum(num_nodes(branch) for branch in tree)


def density(tree: Tree) -> int:
    return num_nodes(tree) * math.prod(density(branch) for branch in tree)


def stage_weights(tree: Tree, a: Sequence[Sequence]) -> list[Fraction]:
    """Phi_i of each stage i, for the weights a."""
    phi = [Fraction(1)] * len(a)
    for branch in tree:
        inner = stage_weights(branch, a)
        for i, row in enumerate(a):
            phi[i] *= sum(Fraction(x) * inner[j] for j, x in enumerate(row))
    return phi


def defect(tree: Tree, a: Sequence[Sequence], b: Sequence, theta: Fraction = Fraction(1)) -> float:
    """How far weights b at theta of the step are from theta^n / density, in absolute terms."""
    phi = stage_weights(tree, a)
    total = sum(Fraction(x) * phi_i for x, phi_i in zip(b, phi, strict=True))
    return abs(float(total - theta ** num_nodes(tree) / density(tree)))
