"""Recipes: one text and one hash for equal contents, clear refusals for what has no place in them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.errors import RequestError
from landscape.sweeps.recipe import canonical, difference, digest, environment, from_yaml, plain, recipe_hash, to_yaml

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
recipes = st.dictionaries(
    st.text(), st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
)


@dataclass(frozen=True)
class Recipe:
    lr: float
    widths: tuple[int, ...]


def test_equal_contents_have_one_text():
    a = {"lr": np.float64(0.1), "widths": (64, np.int64(64)), "flag": np.bool_(True), "none": None}
    b = {"none": None, "flag": True, "widths": [64, 64], "lr": 0.1}
    assert canonical(a) == canonical(b) == '{"flag":true,"lr":0.1,"none":null,"widths":[64,64]}'
    assert recipe_hash(a) == recipe_hash(b)
    assert recipe_hash(a) != recipe_hash({**b, "lr": 0.2})
    assert canonical(Recipe(0.1, (1, 2))) == canonical({"lr": 0.1, "widths": [1, 2]})


def test_the_hash_is_sha256_of_the_text():
    # printf '{"a":1}' | sha256sum
    assert recipe_hash({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"a": {"b": math.nan}}, r"recipe\.a\.b is nan"),
        ([1, math.inf], r"recipe\[1\] is inf"),
        ({"out": Path("x")}, "recipe.out is a PosixPath"),
        ({1: 2}, "key 1"),
        ({"weights": np.zeros(3)}, "digest"),
        ({"a": {1, 2}}, "set"),
    ],
)
def test_refusals_name_the_place(value, what):
    with pytest.raises(RequestError, match=what):
        canonical(value)


@settings(max_examples=50)
@given(recipes)
def test_yaml_and_json_round_trips(recipe):
    assert from_yaml(to_yaml(recipe)) == recipe == json.loads(canonical(recipe))
    assert recipe_hash(from_yaml(to_yaml(recipe))) == recipe_hash(recipe)


def test_yaml_reads_numbers_as_people_write_them():
    recipe = from_yaml("{a: 1e-3, b: -2E+5, c: .5e1, d: 12, e: 1.5, f: e3, g: 0.1, h: '1e3'}")
    assert recipe == {"a": 1e-3, "b": -2e5, "c": 5.0, "d": 12, "e": 1.5, "f": "e3", "g": 0.1, "h": "1e3"}


@pytest.mark.parametrize(
    "text", ["", "a: [", "- 1", "a: .nan", "1: 2", "a: !!python/object:os.system x", "a: 2020-01-01"]
)
def test_bad_yaml(text):
    with pytest.raises(RequestError) as error:
        from_yaml(text)
    assert "\n" not in str(error.value)


def test_difference_names_the_first_setting():
    old = {"curve": {"bends": 1}, "points": 61}
    assert difference(old, old) == ""
    assert difference(old, {"curve": {"bends": 2}, "points": 31}) == "curve.bends is 1 there, 2 here"
    assert difference(old, {**old, "seed": 3}) == "seed is null there, 3 here"


def test_digest_sees_type_shape_and_bytes_but_no_memory_order():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    same = [np.asfortranarray(a), a[::-1][::-1], a.copy()]
    other = [a.astype(np.float64), a.reshape(3, 2), a + 1, a.T, np.zeros((0, 3), np.float32)]
    assert {digest(x) for x in same} == {digest(a)}
    assert len({digest(a), *(digest(x) for x in other)}) == 1 + len(other)
    assert digest({"x": a, "y": a.T}) == digest({"y": a.T, "x": a}) != digest({"x": a.T, "y": a})
    assert digest(a, a) != digest(a)
    assert len(digest(np.float32(1.0))) == 64
    with pytest.raises(TypeError, match="object"):
        digest(np.array([{}]))


def test_environment_is_plain_and_tells_what_ran():
    found = environment("cuda")
    assert plain(found) == found
    assert found["device"] == "cuda"
    assert found["numpy_version"] == np.__version__
    assert found["created"].endswith("+00:00")
    assert {"torch_version", "python_version", "git_revision"} <= found.keys()
