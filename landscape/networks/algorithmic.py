"""Algorithmic data sets of the grokking experiments: every equation of an operation table, divided at random."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.networks.splits import DataSet, divide
from landscape.settings import Count, Range, Seed

Share = Annotated[float, Range(0, 1, open=True)]
"""The part that is trained on: all or nothing would leave the other split empty."""
Encoding = Literal["one-hot", "symbols"]
Operation = Literal["add", "subtract", "multiply", "divide", "x2+y2", "x2+xy+y2", "x3+xy"]
OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "x2+y2": lambda a, b: a**2 + b**2,
    "x2+xy+y2": lambda a, b: a**2 + a * b + b**2,
    "x3+xy": lambda a, b: a**3 + a * b,
}
"""Those that are polynomials; division isn't one."""
MAX_BITS = 20
MAX_ELEMENTS = 6


def modular(
    *,
    modulus: Annotated[int, Range(2)] = 97,
    operation: Operation = "add",
    fraction: Share = 0.5,
    encoding: Encoding = "one-hot",
    seed: Seed = 0,
) -> DataSet:
    r"""Every equation :math:`a \circ b = c \pmod p` of the grokking experiments, divided at random.

    Args:
        modulus: The number `p` of symbols; a prime for `divide`.
        operation: The operation; `divide` gives :math:`a b^{-1}` over all :math:`b \ne 0`.
        fraction: Part of the equations that is trained on.
        encoding: `one-hot` gives float32 inputs `(N, 2p)`, which any network takes; `symbols` int64 ones
            `(N, 2)` for networks with an embedding.
        seed: Which equations are trained on.

    Returns:
        The equations with the label `c`.

    Raises:
        RequestError: If division is asked for and the modulus is not prime, or the fraction leaves a split empty.

    References:
        A. Power et al., Grokking, arXiv:2201.02177.
    """
    symbols = torch.arange(modulus)
    pairs = torch.cartesian_prod(symbols, symbols)
    if operation == "divide":
        if any(modulus % k == 0 for k in range(2, math.isqrt(modulus) + 1)):
            near = next(n for n in range(modulus, 1, -1) if all(n % k for k in range(2, math.isqrt(n) + 1)))
            raise RequestError(f"data set 'modular': division needs a prime modulus, got {modulus}; take {near}")
        pairs = pairs[pairs[:, 1] > 0]
    return _divide("modular", pairs, solve(pairs, operation, modulus), modulus, fraction, encoding, seed)


def solve(pairs: Tensor, operation: str, modulus: int) -> Tensor:
    r"""The answers :math:`c = a \circ b` of equations.

    Args:
        pairs: a and b, shape `(N, 2)`; where a quotient is asked for, b is not 0.
        operation: One of `modular`.
        modulus: p; a prime for `divide`.

    Returns:
        Shape `(N,)`.
    """
    a, b = pairs.unbind(1)
    if operation != "divide":
        return OPERATIONS[operation](a, b) % modulus
    inverses = torch.tensor([0, *(pow(symbol, -1, modulus) for symbol in range(1, modulus))])
    return a * inverses.to(b.device)[b] % modulus


def permutations(
    *,
    elements: Annotated[int, Range(2, MAX_ELEMENTS)] = 5,
    form: Literal["xy", "xyx^-1", "xyx"] = "xy",
    fraction: Share = 0.5,
    encoding: Encoding = "one-hot",
    seed: Seed = 0,
) -> DataSet:
    r"""Composition in the symmetric group, by default :math:`S_5`: every pair of permutations, divided at random.

    A product is read from the right, :math:`(xy)(i) = x(y(i))`; symbols number the permutations in lexicographic order.

    Args:
        elements: How many elements are permuted; there are `elements!` symbols.
        form: What is asked for: :math:`xy`, :math:`xyx^{-1}` or :math:`xyx`.
        fraction: Part of the equations that is trained on.
        encoding: As for `modular`.
        seed: Which equations are trained on.

    Returns:
        The equations, labelled with the number of the result.

    Raises:
        RequestError: If the fraction leaves a split empty.

    References:
        A. Power et al., Grokking, arXiv:2201.02177, appendix A.1.1.
    """
    group = torch.tensor(list(itertools.permutations(range(elements))))
    places = elements ** torch.arange(elements)
    numbers = torch.full((int(places.sum()) * elements,), -1)
    numbers[group @ places] = torch.arange(len(group))
    pairs = torch.cartesian_prod(torch.arange(len(group)), torch.arange(len(group)))
    x, y = group[pairs[:, 0]], group[pairs[:, 1]]
    after = {"xy": torch.arange(elements).expand_as(x), "xyx^-1": x.argsort(1), "xyx": x}[form]
    results = x.gather(1, y.gather(1, after))
    return _divide("permutations", pairs, numbers[results @ places], len(group), fraction, encoding, seed)


def parity(
    *,
    bits: Annotated[int, Range(1, MAX_BITS)] = 10,
    relevant: Count = 3,
    fraction: Share = 0.5,
    encoding: Literal["signs", "symbols"] = "signs",
    seed: Seed = 0,
) -> DataSet:
    r"""Sparse parity: whether the number of ones among the first `relevant` bits is odd, for every string of bits.

    Args:
        bits: Length of a string.
        relevant: How many bits count; the others are noise.
        fraction: Part of the strings that is trained on.
        encoding: `signs` gives float32 inputs `(N, bits)`, :math:`(-1)^{x_i}`; `symbols` int64 ones, 0 and 1.
        seed: Which strings are trained on.

    Raises:
        RequestError: If more bits count than there are, or the fraction leaves a split empty.

    References:
        B. Barak et al., Hidden progress in deep learning, arXiv:2207.08799.
    """
    if relevant > bits:
        raise RequestError(
            f"data set 'parity': {relevant} bits can't count among {bits}: set relevant to {bits} or less"
        )
    strings = (torch.arange(2**bits)[:, None] >> torch.arange(bits)) & 1
    return _divide("parity", strings, strings[:, :relevant].sum(1) % 2, 2, fraction, encoding, seed)


def _divide(
    name: str, symbols: Tensor, labels: Tensor, num_classes: int, fraction: float, encoding: str, seed: int
) -> DataSet:
    """A random part of the equations for training, the rest for the test."""
    count = len(symbols)
    num_train = round(fraction * count)
    if not 0 < num_train < count:
        split = "test" if num_train else "training"
        raise RequestError(f"data set '{name}': fraction {fraction:g} of {count} equations leaves no {split} data")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    symbols, labels = symbols[order], labels[order]
    inputs = {
        "symbols": lambda: symbols,
        "one-hot": lambda: F.one_hot(symbols, num_classes).flatten(1).float(),
        "signs": lambda: 1.0 - 2.0 * symbols.float(),
    }[encoding]()
    return divide(name, inputs, labels, num_train, num_classes, seed)


ALGORITHMIC: dict[str, Callable[..., DataSet]] = {"modular": modular, "permutations": permutations, "parity": parity}
