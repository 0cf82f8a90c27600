"""Random-looking numbers that depend on nothing but their arguments.

A split or an alternating flip must come out the same in every run, on every device and under every
version of torch. `torch.randperm` promises none of this across versions, integer arithmetic does.
"""

from jaxtyping import Int64
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def hash_indices(indices: Int64[Tensor, "*shape"], *, seed: int) -> Int64[Tensor, "*shape"]:
    """Hash integers: the SplitMix64 generator (Steele, Lea and Flood 2014) at position `indices`.

    Args:
        indices: Integers, on any device.
        seed: Selects one of the independent-looking sequences.

    Returns:
        Integers of the same shape, uniform over the signed 64-bit range (all bits are usable).
    """
    return _mix(indices * _GOLDEN + _signed(hash_integer(seed)))


def hash_integer(*values: int) -> int:
    """Hash a sequence of integers into one integer in [0, 2**63).

    Args:
        values: Integers; their order matters.

    Returns:
        A number fit for `torch.Generator.manual_seed`.
    """
    state = 0
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state >> 1


def _mix(x: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    # torch shifts signed integers arithmetically; the mask makes the shift a logical one.
    x = (x ^ ((x >> 30) & (2**34 - 1))) * _MIX_1
    x = (x ^ ((x >> 27) & (2**37 - 1))) * _MIX_2
    return x ^ ((x >> 31) & (2**33 - 1))


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
