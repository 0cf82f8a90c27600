"""Which states of a solve to keep where there is no room for all.

Reference: Griewank and Walther 2000, "Algorithm 799: revolve" (the binomial schedule, which repeats
the fewest steps that are possible).
"""

import math


def next_stop(length: int, places: int) -> int:
    """How many steps to make before the next state is kept.

    With s states and no step made more than r times, C(s + r, s) steps can be undone. The steps
    before the stop have s states and r - 1 times left, those behind it s - 1 states and r times.

    Args:
        length: steps to undo, at least 2, from a state that is kept.
        places: room for further states, at least 1.

    Returns:
        A number of steps from 1 to length - 1.
    """
    states, repeats = places + 1, 1
    while math.comb(states + repeats, states) < length:
        repeats += 1
    most = min(
        math.comb(states + repeats - 1, states),
        length - math.comb(states + repeats - 2, states - 1),
    )
    least = max(
        math.comb(states + repeats - 2, states) if repeats > 1 else 1,
        length - math.comb(states + repeats - 1, states - 1),
    )
    return min(max(least, most, 1), length - 1)


def stops(length: int, states: int) -> list[int]:
    """The steps at whose start a state is kept where their number was known ahead.

    Args:
        length: number of steps.
        states: room, the state before the first step included, at least 1.

    Returns:
        Their indices in order, the first 0.
    """
    kept = [0]
    while len(kept) < states and length - kept[-1] > 1:
        kept.append(kept[-1] + next_stop(length - kept[-1], states - len(kept)))
    return kept
