import pytest
import torch

from landscape.errors import RequestError
from landscape.networks.datasets import BUILT_IN, DATA_SETS, list_data, load_data, resolve_settings


def test_digits_are_embedded_and_split_evenly():
    data = load_data("digits")
    assert (len(data.train), len(data.test), data.input_shape, data.num_classes) == (1437, 360, (1, 8, 8), 10)
    assert data.train.inputs.dtype == torch.float32
    shares = data.test.targets.bincount() / (data.test.targets.bincount() + data.train.targets.bincount())
    assert (shares - 0.2).abs().max() < 0.005
    assert torch.equal((16 * data.train.inputs).unique(), torch.arange(17.0))


def test_digits_are_the_same_everywhere():
    assert load_data("digits").digest == "cf17d7b32247572f1470918aa8e04a98014f0d3a5787db84801c51a8f24e2217"


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_data_need_no_file(name, nowhere):
    data = load_data(name)
    assert data.name == name
    assert data.test is not None


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("digit", {}, "unknown data set 'digit': did you mean 'digits'"),
        ("cifar-10", {}, "did you mean 'cifar10'"),
        ("digits", {"size": 3}, "data set 'digits' has no settings"),
        ("mnist", {"size": 3}, "data set 'mnist' has no settings"),
        ("mine.npz", {"size": 3}, "has no settings"),
        ("regression", {"num_samples": 0}, "at least 1"),
        ("regression", {"nois": 0}, "did you mean 'noise'"),
        ("no such:form", {}, "not of the form package.module:factory"),
        ("no_such_module:f", {}, "no module named"),
    ],
)
def test_wrong_requests_are_one_line(name, settings, message):
    with pytest.raises(RequestError, match=message) as caught:
        load_data(name, settings=settings)
    assert len(str(caught.value).splitlines()) == 1


def test_resolved_settings_are_complete():
    assert resolve_settings("digits") == {}
    assert resolve_settings("mnist") == {}
    assert resolve_settings("regression", {"noise": "0.5"})["noise"] == 0.5
    assert resolve_settings("a.b:c", {"x": 1}) == {"x": 1}


def test_the_list_tells_what_was_found(tmp_path, write, nowhere):
    write.mnist(tmp_path / "mnist")
    listings = {listing.name: listing for listing in list_data(tmp_path)}
    assert tuple(listings) == DATA_SETS
    assert listings["mnist"].found == str(tmp_path / "mnist")
    assert listings["cifar10"].found is None
    assert "cifar-10-batches-py" in listings["cifar10"].obtain
    for name in BUILT_IN:
        data = load_data(name)
        assert listings[name].samples == (len(data.train), len(data.test))
        assert listings[name].found
