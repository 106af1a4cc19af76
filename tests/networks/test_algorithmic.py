import itertools

import pytest
import torch

from landscape.errors import RequestError
from landscape.networks.datasets import load_data

OPERATIONS = {
    "add": lambda a, b, p: (a + b) % p,
    "subtract": lambda a, b, p: (a - b) % p,
    "multiply": lambda a, b, p: a * b % p,
    "divide": lambda a, b, p: next(c for c in range(p) if c * b % p == a),
    "x2+y2": lambda a, b, p: (a * a + b * b) % p,
    "x2+xy+y2": lambda a, b, p: (a * a + a * b + b * b) % p,
    "x3+xy": lambda a, b, p: (a * a * a + a * b) % p,
}


def equations(data):
    """Every sample of both splits, as `(*symbols, answer)`."""
    return [
        (*map(int, row), int(c))
        for split in data.splits.values()
        for row, c in zip(split.inputs, split.targets, strict=True)
    ]


def table(data):
    """The answers as a matrix over the first and second symbol."""
    rows = torch.tensor(sorted(equations(data)))
    return rows[:, 2].view(-1, int(rows[:, 1].max() - rows[:, 1].min()) + 1)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("p", [2, 7, 13])
def test_modular_holds_every_equation_once(operation, p):
    settings = {"modulus": p, "operation": operation, "encoding": "symbols", "fraction": 0.3 if p > 2 else 0.5}
    data = load_data("modular", settings=settings)
    seconds = range(1, p) if operation == "divide" else range(p)
    assert sorted(equations(data)) == [(a, b, OPERATIONS[operation](a, b, p)) for a in range(p) for b in seconds]
    assert len(data.train) == round(settings["fraction"] * p * len(seconds))
    assert data.num_classes == p


@pytest.mark.parametrize("settings", [{"operation": "add"}, {"operation": "subtract"}, {"operation": "divide"}])
def test_each_answer_stands_once_in_each_column(settings):
    answers = table(load_data("modular", settings={"modulus": 11, "encoding": "symbols", **settings}))
    assert (answers.sort(0).values == torch.arange(11)[:, None]).all()
    if settings["operation"] != "divide":  # 0 / b = 0 for every b
        assert (answers.sort(1).values == torch.arange(11)).all()


def test_modular_one_hot_is_the_same_equations():
    symbols = load_data("modular", settings={"modulus": 5, "encoding": "symbols"})
    one_hot = load_data("modular", settings={"modulus": 5})
    assert one_hot.input_shape == (10,)
    assert torch.equal(one_hot.train.inputs.reshape(-1, 2, 5).argmax(-1), symbols.train.inputs)


def test_composition_is_the_symmetric_group():
    product = table(load_data("permutations", settings={"encoding": "symbols"}))
    count = len(product)
    numbers = torch.arange(count)
    assert count == 120
    assert torch.equal(product[0], numbers)  # the first permutation is the identity, on either side
    assert torch.equal(product[:, 0], numbers)
    assert torch.equal(product.sort(0).values, numbers[:, None].expand(-1, count))  # a Latin square: every
    assert torch.equal(product.sort(1).values, numbers.expand(count, -1))  # element has an inverse
    assert torch.equal(product[product], product[:, product])  # (xy)z = x(yz) for all three
    assert not torch.equal(product, product.T)


def test_composition_reads_from_the_right():
    group = list(itertools.permutations(range(3)))
    product = table(load_data("permutations", settings={"elements": 3, "encoding": "symbols"}))
    for x, y in itertools.product(range(6), repeat=2):
        assert group[product[x, y]] == tuple(group[x][group[y][i]] for i in range(3))


@pytest.mark.parametrize(("form", "last"), [("xyx^-1", "inverse"), ("xyx", "same")])
def test_longer_forms_are_products(form, last):
    product = table(load_data("permutations", settings={"elements": 4, "encoding": "symbols"}))
    found = table(load_data("permutations", settings={"elements": 4, "encoding": "symbols", "form": form}))
    inverse = (product == 0).int().argmax(1)
    third = inverse if last == "inverse" else torch.arange(len(product))
    assert torch.equal(found, product[product, third[:, None]])


@pytest.mark.parametrize("encoding", ["signs", "symbols"])
def test_parity_is_the_product_of_signs(encoding):
    data = load_data("parity", settings={"bits": 7, "relevant": 4, "encoding": encoding, "fraction": 0.25})
    inputs = torch.cat([data.train.inputs, data.test.inputs]).double()
    signs = inputs if encoding == "signs" else 1 - 2 * inputs
    assert len(signs.unique(dim=0)) == 2**7
    assert len(data.train) == 2**5
    labels = torch.cat([data.train.targets, data.test.targets])
    assert torch.equal(signs[:, :4].prod(1), 1.0 - 2 * labels)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("modular", {"modulus": 1}, "at least 2"),
        ("modular", {"modulus": 15, "operation": "divide"}, "prime modulus, got 15; take 13"),
        ("modular", {"operation": "x2+y"}, r"did you mean 'x2\+y2'"),
        ("modular", {"fraction": 0}, "more than 0"),
        ("modular", {"fraction": 1.0}, "less than 1, got 1.0"),
        ("modular", {"fraction": 1.5}, "less than 1"),
        ("modular", {"modulus": 3, "fraction": 0.99}, "fraction 0.99 of 9 equations leaves no test data"),
        ("modular", {"modulus": 3, "fraction": 0.01}, "leaves no training data"),
        ("modular", {"modulos": 5}, "did you mean 'modulus'"),
        ("permutations", {"elements": 7}, "at most 6"),
        ("permutations", {"form": "yx"}, "did you mean"),
        ("parity", {"bits": 3, "relevant": 4}, "4 bits can't count among 3"),
    ],
)
def test_wrong_settings(name, settings, message):
    with pytest.raises(RequestError, match=message):
        load_data(name, settings=settings)
