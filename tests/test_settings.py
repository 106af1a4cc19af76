import math
from typing import Literal

import pytest

from landscape.errors import RequestError
from landscape.settings import Count, Decay, Exponent, Fraction, Positive, Range, Seed, accepts, defaults, resolve


def make(
    size: int,
    *,
    width: Count = 16,
    hidden: tuple[Count, ...] = (64, 64),
    bias: bool = True,
    kind: Literal["A", "B"] = "A",
    dropout: Fraction = 0.0,
    seed: Seed = 0,
    lr: Positive = 0.1,
    name: str = "x",
    clip: float | None = None,
    p: Exponent = 2.0,
    momentum: Decay = 0.9,
) -> None:
    """A function with every kind of setting."""


def test_defaults_are_the_keyword_only_parameters():
    assert list(defaults(make)) == [
        "width",
        "hidden",
        "bias",
        "kind",
        "dropout",
        "seed",
        "lr",
        "name",
        "clip",
        "p",
        "momentum",
    ]
    assert "width" not in defaults(make, hidden={"width"})
    assert resolve("it", make, None) == defaults(make)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("width", "8", 8),
        ("width", 8.0, 8),
        ("hidden", "32,16", (32, 16)),
        ("hidden", "32", (32,)),
        ("hidden", 32, (32,)),
        ("hidden", [32, "16"], (32, 16)),
        ("hidden", (), ()),
        ("bias", "no", False),
        ("bias", "True", True),
        ("bias", False, False),
        ("kind", "B", "B"),
        ("dropout", "0.5", 0.5),
        ("dropout", 1, 1.0),
        ("seed", 0, 0),
        ("lr", "1e-3", 1e-3),
        ("name", "y", "y"),
        ("clip", "none", None),
        ("clip", None, None),
        ("clip", "2", 2.0),
        ("p", "1.5", 1.5),
        ("p", "Inf", "inf"),  # as JSON can hold it
        ("p", math.inf, "inf"),
    ],
)
def test_values_become_the_annotated_type(name, given, expected):
    value = resolve("it", make, {name: given})[name]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("widht", 8, "did you mean 'width'"),
        ("width", 0, "at least 1"),
        ("width", -3, "at least 1"),
        ("width", 2.5, "whole number"),
        ("width", "many", "whole number"),
        ("width", True, "must be a number"),
        ("width", None, "whole number"),
        ("width", math.inf, "whole number"),
        ("hidden", "64,0", "at least 1"),
        ("hidden", "64,x1", "whole number"),
        ("bias", "maybe", "true or false"),
        ("bias", 2, "true or false"),
        ("kind", "C", "choices: A, B"),
        ("dropout", 1.5, "at least 0 and at most 1"),
        ("dropout", "nan", "must be a number"),
        ("seed", -1, "at least 0"),
        ("lr", 0, "more than 0"),
        ("name", 3, "must be text"),
        ("p", 0.5, "must be at least 1"),
        ("p", "-inf", "must be a number"),
        ("momentum", 1, "at least 0 and less than 1, got 1"),
        ("momentum", -0.1, "at least 0 and less than 1"),
    ],
)
def test_wrong_settings_are_named_in_one_line(name, given, message):
    with pytest.raises(RequestError, match=message) as caught:
        resolve("model 'it'", make, {name: given})
    assert "model 'it'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_function_without_settings_says_so():
    with pytest.raises(RequestError, match="has no settings"):
        resolve("it", lambda size: size, {"width": 3})


def test_what_settings_accept_in_words():
    assert accepts(make) == {
        "width": "whole number at least 1",
        "hidden": "whole number at least 1, several by commas",
        "bias": "yes or no",
        "kind": "A or B",
        "dropout": "number at least 0 and at most 1",
        "seed": "whole number at least 0",
        "lr": "number more than 0",
        "name": "text",
        "clip": "number or none",
        "p": "number at least 1 or inf",
        "momentum": "number at least 0 and less than 1",
    }


def test_ranges_in_words():
    assert 0 in Range(0, 1)
    assert 0 not in Range(0, 1, open=True)
    assert str(Range(0, 1)) == "at least 0 and at most 1"
