"""Learning-rate schedules against their closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape.errors import RequestError
from landscape.optimizers.schedules import SCHEDULES, constant, cosine, find_schedule, piecewise, warmed

progress = st.floats(0, 1)


@pytest.mark.parametrize("name", SCHEDULES)
@given(progress)
def test_every_schedule_starts_at_one_and_stays_between(name, u):
    schedule = find_schedule(name)
    assert schedule(0.0) == 1
    assert 0 <= schedule(u) <= 1
    assert schedule(u) >= schedule(min(1.0, u + 0.1)) - 1e-12


@given(progress)
def test_cosine(u):
    assert cosine(u) == pytest.approx((1 + math.cos(math.pi * u)) / 2)
    assert cosine(u) + cosine(1 - u) == pytest.approx(1)


def test_piecewise_as_in_garipov():
    assert [piecewise(u) for u in (0, 0.25, 0.5)] == [1, 1, 1]
    assert piecewise(0.7) == pytest.approx(0.505)  # half way from 1 at 50 % to 0.01 at 90 %
    assert piecewise(0.9) == pytest.approx(0.01)
    assert [piecewise(u) for u in (0.95, 1.0)] == [0.01, 0.01]


def test_warm_up_rises_to_the_schedule_in_so_many_updates():
    factors = [warmed(constant, 4, 10)(index / 10) for index in range(10)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1])
    factors = [warmed(cosine, 2, 10)(index / 10) for index in range(10)]
    assert factors == pytest.approx([0.5, *(cosine(index / 10) for index in range(1, 10))])
    assert warmed(cosine, 0, 10) is cosine


def test_unknown():
    with pytest.raises(RequestError, match="unknown schedule 'cosin': did you mean 'cosine'"):
        find_schedule("cosin")
