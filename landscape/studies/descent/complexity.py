"""The effective model complexity of Nakkiran et al.: how many samples a network can be trained to fit."""

from __future__ import annotations

from collections.abc import Callable


def largest(fits: Callable[[int], bool], start: int, most: int, least: int = 1, resolution: float = 0.1) -> int:
    """The largest number that fits, by doubling or halving from a start, and then by bisection.

    What fits is taken for all numbers up to a bound; where it scatters, one of its bounds is found.

    Args:
        fits: Whether a number fits.
        start: Where the search begins.
        most: The largest number that can be asked for.
        least: The smallest one.
        resolution: The bound is known to this share of itself, and to 1 where that is more.

    Returns:
        A number that fits, beyond which one within the resolution doesn't; `most` if that fits, 0 if `least` doesn't.

    References:
        P. Nakkiran et al., Deep Double Descent, arXiv 1912.02292, definition 1.
    """
    good, bad = least - 1, most + 1
    count = min(max(start, least), most)
    while bad - good > max(1, int(resolution * good)):
        if fits(count):
            good = count
        else:
            bad = count
        if bad > most and good < most:
            count = min(2 * good, most)
        elif good < least:
            count = max(bad // 2, least)
        else:
            count = (good + bad) // 2
    return good if good >= least else 0
