import dataclasses
import os

import numpy as np
import pytest
import torch

from landscape.errors import RequestError
from landscape.networks.datasets import load_data
from landscape.networks.images import IMAGE_FILES, normalize
from landscape.networks.splits import Normalization

pytestmark = pytest.mark.usefixtures("nowhere")


def expected(pixels, normalization):
    """The normalisation's definition in float64."""
    mean, std = (np.array(values)[:, None, None] for values in (normalization.mean, normalization.std))
    return (pixels / 255 - mean) / std


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "MNIST/raw"),
        ("mnist", "package/data"),
        ("mnist", "."),
        ("fashion_mnist", "fashion-mnist"),
        ("fashion_mnist", "FashionMNIST/raw"),
    ],
)
def test_idx_folders(tmp_path, write, name, folder, suffix):
    contents = write.mnist(tmp_path / folder, suffix=suffix)
    data = load_data(name, data_dir=tmp_path)
    assert (len(data.train), len(data.test), data.input_shape, data.num_classes) == (6, 4, (1, 28, 28), 10)
    for split, (pixels, labels) in contents.items():
        found = data.splits[split]
        assert (found.inputs.dtype, found.targets.dtype) == (torch.float32, torch.int64)
        # Correctly rounded to float32: half a unit in the last place of values up to 2.9.
        np.testing.assert_allclose(found.inputs, expected(pixels[:, None], data.normalization), rtol=2**-24)
        np.testing.assert_array_equal(found.targets, labels)


def test_dotted_names_are_found_too(tmp_path, write):
    write.mnist(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(load_data("mnist", data_dir=tmp_path).train) == 6


@pytest.mark.parametrize("kind", ["python2", "python3", "binary"])
def test_cifar10_folders(tmp_path, write, kind):
    folder = tmp_path / ("cifar-10-batches-bin" if kind == "binary" else "cifar-10-batches-py")
    contents = write.cifar10(folder, kind)
    data = load_data("cifar10", data_dir=tmp_path)
    assert (len(data.train), len(data.test), data.input_shape) == (15, 3, (3, 32, 32))
    for split, (pixels, labels) in contents.items():
        np.testing.assert_allclose(data.splits[split].inputs, expected(pixels, data.normalization), rtol=2**-24)
        np.testing.assert_array_equal(data.splits[split].targets, labels)


def test_one_digest_wherever_and_in_whatever_form_the_images_lie(tmp_path, write):
    digests = set()
    for kind, folder in (("python2", "a"), ("python3", "b/cifar-10-batches-py"), ("binary", "c/cifar-10-batches-bin")):
        write.cifar10(tmp_path / folder, kind)
        digests.add(load_data("cifar10", data_dir=tmp_path / folder.split("/")[0]).digest)
    assert len(digests) == 1


def test_cifar100_reads_the_fine_labels(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    for name in ("train.bin", "test.bin"):
        (folder / name).write_bytes((bytes([19, 99]) + bytes(3072)) * 2)
    data = load_data("cifar100", data_dir=tmp_path)
    assert data.num_classes == 100
    assert data.train.targets.tolist() == [99, 99]


def test_normalisation_is_correctly_rounded():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 2, 8, 16)
    scale = Normalization((0.1, 0.5), (0.3, 0.25))
    found = normalize(np.repeat(pixels, 600, axis=0), scale)
    exact = expected(pixels, scale).astype(np.float32)
    assert (found.numpy() == exact).all()


def test_the_order_of_the_search(tmp_path, write, monkeypatch):
    for count, place in enumerate(("named", "first", "second"), start=1):
        write.mnist(tmp_path / place / "mnist", num_train=count)
    (tmp_path / "empty").mkdir()
    places = (tmp_path / "first", tmp_path / "second")
    monkeypatch.setenv("LANDSCAPE_DATA", os.pathsep.join(map(str, places)))
    assert len(load_data("mnist", data_dir=tmp_path / "named").train) == 1
    assert len(load_data("mnist").train) == 2
    assert len(load_data("mnist", data_dir=tmp_path / "empty").train) == 2


@pytest.mark.parametrize("name", IMAGE_FILES)
def test_what_is_not_found_is_named_with_its_remedy(tmp_path, name):
    with pytest.raises(RequestError, match=r"was not found in .*get it with: .*--data-dir") as caught:
        load_data(name, data_dir=tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(RequestError, match="doesn't exist"):
        load_data(name, data_dir=tmp_path / "nowhere")


def test_no_place_at_all():
    with pytest.raises(RequestError, match="was not found in any folder"):
        load_data("mnist")


def test_an_incomplete_folder_says_what_lacks(tmp_path, write):
    write.cifar10(tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(RequestError, match=r"is incomplete: .*cifar-10-batches-py lacks data_batch_3;"):
        load_data("cifar10", data_dir=tmp_path)


def test_a_damaged_file_is_named(tmp_path, write):
    write.mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_text("no labels")
    with pytest.raises(RequestError, match="t10k-labels-idx1-ubyte is not an IDX file"):
        load_data("mnist", data_dir=tmp_path)


def test_images_of_another_size_are_refused(tmp_path, write):
    write.mnist(tmp_path)
    write.idx(tmp_path / "train-images-idx3-ubyte", np.zeros((6, 20, 20), np.uint8))
    with pytest.raises(RequestError, match=r"\(1, 20, 20\), expected \(1, 28, 28\)"):
        load_data("mnist", data_dir=tmp_path)


def test_complete_files_of_another_data_set_are_refused(tmp_path, write):
    write.mnist(tmp_path)  # random pixels of mean one half, as many as are said to be published
    entry = dataclasses.replace(IMAGE_FILES["mnist"], samples=(6, 4))
    with pytest.raises(RequestError, match=r"published is \[0.1307\]: these are another data set's files"):
        entry.load(tmp_path)


def test_labels_outside_the_classes_are_refused(tmp_path, write):
    write.mnist(tmp_path)
    write.idx(tmp_path / "train-labels-idx1-ubyte", np.full(6, 10, np.uint8))
    with pytest.raises(RequestError, match=r"labels must lie in 0\.\.9"):
        load_data("mnist", data_dir=tmp_path)
