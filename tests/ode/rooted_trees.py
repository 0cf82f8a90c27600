"""Rooted trees and the order conditions of Runge-Kutta methods that belong to them.

A tree is the sorted tuple of its branches; the single node is (). A method has order p if, for
every tree of at most p nodes, sum_i b_i Phi_i(tree) = 1 / density(tree); see Hairer, Norsett,
Wanner: Solving ODEs I, section II.2. All arithmetic has 50 digits: as good as exact here, and the
fractions of order 9 would have thousands of digits.
"""

import math
from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache

Tree = tuple  # of Trees
DIGITS = 50


@cache
def trees(num_nodes: int) -> tuple[Tree, ...]:
    """All rooted trees with so many nodes: 1, 1, 2, 4, 9, 20, 48, 115, 286 of them."""
    return tuple(sorted(_forests(num_nodes - 1, num_nodes - 1)))


@cache
def _forests(num_nodes: int, largest: int) -> tuple[tuple[Tree, ...], ...]:
    """Multisets of trees with num_nodes in all and at most `largest` in each."""
    if num_nodes == 0:
        return ((),)
    found = set()
    for size in range(1, min(num_nodes, largest) + 1):
        for tree in trees(size):
            for rest in _forests(num_nodes - size, size):
                found.add(tuple(sorted((tree, *rest))))
    return tuple(found)


def num_nodes(tree: Tree) -> int:
    return 1 + sum(num_nodes(branch) for branch in tree)


def density(tree: Tree) -> int:
    return num_nodes(tree) * math.prod(density(branch) for branch in tree)


def defect(tree: Tree, a: Sequence[Sequence], b: Sequence, theta: Fraction = Fraction(1)) -> float:
    """How far weights b at theta of the step are from theta^n / density, in absolute terms."""
    return _worst((tree,), a, b, theta)


def worst_defect(
    num_nodes: int, a: Sequence[Sequence], b: Sequence, theta: Fraction = Fraction(1)
) -> float:
    """The largest defect of all trees with so many nodes.

    Args:
        num_nodes: n.
        a: rows of stage weights, explicit (row i holds i numbers) or full.
        b: weights of the state at theta, one a stage.
        theta: part of the step that is done there.
    """
    return _worst(trees(num_nodes), a, b, theta)


def _worst(some: Sequence[Tree], a: Sequence[Sequence], b: Sequence, theta: Fraction) -> float:
    with localcontext(prec=DIGITS):
        rows = [[(j, _decimal(x)) for j, x in enumerate(row) if x != 0] for row in a]
        weights = [_decimal(x) for x in b]
        known: dict[Tree, list[Decimal]] = {}
        worst = Decimal(0)
        for tree in some:
            phi = _stage_weights(tree, rows, known)
            total = sum((w * x for w, x in zip(weights, phi, strict=True)), Decimal(0))
            exact = _decimal(theta) ** num_nodes(tree) / density(tree)
            worst = max(worst, abs(total - exact))
        return float(worst)


def _stage_weights(
    tree: Tree, rows: list[list[tuple[int, Decimal]]], known: dict[Tree, list[Decimal]]
) -> list[Decimal]:
    """Phi_i of each stage i."""
    if tree not in known:
        phi = [Decimal(1)] * len(rows)
        for branch in tree:
            inner = _stage_weights(branch, rows, known)
            for i, row in enumerate(rows):
                phi[i] *= sum((x * inner[j] for j, x in row), Decimal(0))
        known[tree] = phi
    return known[tree]


def _decimal(x: Fraction | float | int) -> Decimal:
    exact = Fraction(x)
    return Decimal(exact.numerator) / Decimal(exact.denominator)
