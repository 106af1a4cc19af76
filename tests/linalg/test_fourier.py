"""Fourier progress measures on a network built by hand from cosines, and on tables with known spectra."""

import math

import pytest
import torch
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.linalg.fourier import excluded, key_frequencies, periodic_part, power_spectrum, powers, restricted

P, K, SCALE = 31, 7, 40.0
PAIRS = torch.cartesian_prod(torch.arange(P), torch.arange(P))
SUMS = PAIRS.sum(1) % P


def waves(phases):
    """Cosines of one frequency, one for each phase, shape `(P, J)`."""
    return (2 * math.pi * K * torch.arange(P)[:, None].double() / P + phases).cos()


def by_hand(units=6):
    """Weights A, B, W of a network (A[a] + B[b])² W whose logits are SCALE cos(2πK (a + b − c) / P).

    (A + B)² − (A − B)² = 4 AB = 2 cos(w(a + b) + 2φ) + 2 cos(w(a − b)), and the sum over phases with cos(wc + 2φ)
    leaves the first.
    """
    phases = 2 * math.pi * torch.arange(units).double() / units
    once, twice = waves(phases), waves(2 * phases)
    a, b = torch.cat([once, once], 1), torch.cat([once, -once], 1)
    return a, b, SCALE / units * torch.cat([twice, -twice], 1).T


def network(a, b, w):
    return (a[PAIRS[:, 0]] + b[PAIRS[:, 1]]).square() @ w


def loss(logits, targets=SUMS):
    return float(F.cross_entropy(logits, targets))


def test_a_network_of_cosines():
    """One frequency; nothing is lost by keeping it alone, and without it every answer is a guess."""
    a, b, w = by_hand()
    logits = network(a, b, w)
    torch.testing.assert_close(
        logits, SCALE * waves(torch.zeros(1, dtype=torch.float64))[(SUMS[:, None] - torch.arange(P)) % P, 0]
    )
    power = power_spectrum(a) + power_spectrum(b)
    assert key_frequencies(power) == [K]
    assert float(power[K] / power[1:].sum()) == pytest.approx(1, abs=1e-12)
    assert loss(restricted(logits, SUMS, P, [K])) == pytest.approx(loss(logits), abs=1e-12)
    assert loss(restricted(1e3 * logits, SUMS, P, [K])) == 0
    assert loss(excluded(logits, SUMS, P, [K])) == pytest.approx(math.log(P), abs=1e-12)


def test_what_is_known_by_heart_is_in_the_excluded_part():
    """A table of logits that names the right answer everywhere has all frequencies; noise has none in particular."""
    a, b, w = by_hand()
    table = 20 * F.one_hot(SUMS, P).double()
    both = network(a, b, w) + table
    assert loss(excluded(table, SUMS, P, [K])) < 1e-3
    assert loss(excluded(both, SUMS, P, [K])) < 1e-3
    assert loss(excluded(both, SUMS, P, range(1, P // 2 + 1))) == pytest.approx(math.log(P), abs=1e-9)
    assert len(key_frequencies(power_spectrum(table[:P]), share=0.99)) == P // 2


@pytest.mark.parametrize("p", [2, 7, 8, 113])
def test_parseval(p):
    table = torch.randn(p, 3, 2, generator=torch.Generator().manual_seed(p), dtype=torch.float64)
    power = power_spectrum(table)
    assert power.shape == (p // 2 + 1,)
    assert float(power.sum()) == pytest.approx(float(table.square().sum()))
    assert float(power[0]) == pytest.approx(p * float(table.mean(0).square().sum()))


def test_key_frequencies_are_the_fewest():
    power = torch.tensor([100.0, 1.0, 6.0, 0.0, 3.0])
    assert key_frequencies(power, 0.6) == [2]
    assert key_frequencies(power, 0.61) == [2, 4]
    assert key_frequencies(power, 1.0) == [2, 4, 1]
    assert key_frequencies(torch.tensor([5.0, 0.0, 0.0])) == []
    with pytest.raises(RequestError, match="more than 0 and at most 1"):
        key_frequencies(power, 0)


@pytest.mark.parametrize("order", [12, 13])
def test_components_add_up_and_project(order):
    """On uneven samples too: all components together are what the positions explain beyond the mean."""
    generator = torch.Generator().manual_seed(order)
    positions = torch.randint(order, (200,), generator=generator)
    values = torch.randn(200, 4, generator=generator, dtype=torch.float64)
    every = list(range(1, order // 2 + 1))
    part = periodic_part(values, positions, order, every)
    means = torch.stack([values[positions == u].mean(0) for u in range(order)])[positions]
    torch.testing.assert_close(part, means - values.mean(0))
    some = periodic_part(values, positions, order, [2, 3])
    torch.testing.assert_close(periodic_part(some, positions, order, [3, 2]), some)
    torch.testing.assert_close(
        restricted(values, positions, order, every) + excluded(values, positions, order, every),
        values + values.mean(0),
    )
    for wrong in (0, order // 2 + 1):
        with pytest.raises(RequestError, match="frequencies modulo"):
            periodic_part(values, positions, order, [wrong])


def test_products_are_sums_of_logarithms():
    found = powers(P)
    assert sorted(found) == list(range(1, P))
    logs = {value: place for place, value in enumerate(found)}
    assert all((logs[a] + logs[b] - logs[a * b % P]) % (P - 1) == 0 for a in range(1, P) for b in range(1, P))
    assert powers(2) == [1]
    for wrong in (1, 9, 15):
        with pytest.raises(RequestError, match="expected a prime"):
            powers(wrong)
