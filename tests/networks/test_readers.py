import datetime
import gzip
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape.errors import RequestError
from landscape.networks.readers import (
    read_cifar_binary,
    read_cifar_python,
    read_idx,
    read_idx_pair,
    read_pickle,
)

PIXELS = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).reshape(2, 3, 32, 32)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("name", ["x-idx2", "x-idx2.gz"])
def test_idx_round_trip(tmp_path, write, dtype, name):
    array = np.arange(-3, 3).astype(dtype).reshape(2, 3)
    write.idx(tmp_path / name, array)
    found = read_idx(tmp_path / name)
    assert found.dtype.kind == array.dtype.kind
    np.testing.assert_array_equal(found, array)


def test_gzip_is_recognised_by_contents(tmp_path, write):
    write.idx(tmp_path / "x.gz", np.arange(3, dtype=np.uint8))
    (tmp_path / "x.gz").rename(tmp_path / "x")
    np.testing.assert_array_equal(read_idx(tmp_path / "x"), [0, 1, 2])


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "not an IDX file: it starts with nothing"),
        (b"hello, world", "not an IDX file"),
        (b"\x00\x00\x07\x01\x00\x00\x00\x01a", "not an IDX file"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x05ab", "10 bytes, but its header promises 13|promises"),
        (b"\x00\x00\x08\x03\x00\x00", "promises"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x01abc", "promises"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x01a", mtime=0)[:-4], "damaged gzip"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x01a" * 9, mtime=0)[:20] + b"\xff" * 9, "damaged gzip"),
    ],
)
def test_damaged_idx_files(tmp_path, contents, message):
    (tmp_path / "x").write_bytes(contents)
    with pytest.raises(RequestError, match=message):
        read_idx(tmp_path / "x")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(RequestError, match="can't be read: No such file"):
        read_idx(tmp_path / "x")
    with pytest.raises(RequestError, match="can't be read: Is a directory"):
        read_idx(tmp_path)


def test_idx_pairs_belong_together(tmp_path, write):
    images, labels = tmp_path / "images", tmp_path / "labels"
    write.idx(images, np.zeros((3, 5, 4), np.uint8))
    write.idx(labels, np.array([1, 2, 3], np.uint8))
    found, numbers = read_idx_pair([images, labels])
    assert found.shape == (3, 1, 5, 4)
    assert numbers.dtype == np.int64
    with pytest.raises(RequestError, match="must hold images of bytes"):
        read_idx_pair([labels, images])
    write.idx(labels, np.array([1, 2], np.uint8))
    with pytest.raises(RequestError, match="3 images but 2 labels"):
        read_idx_pair([images, labels])


@pytest.mark.parametrize("kind", ["python2", 2, 3, 4])
def test_cifar_batches_of_every_python(tmp_path, write, kind):
    labels, path = [3, 9], tmp_path / "batch"
    if kind == "python2":
        path.write_bytes(write.python2_batch(PIXELS, labels))
    else:
        path.write_bytes(pickle.dumps({b"data": PIXELS.reshape(2, -1), b"labels": labels}, protocol=kind))
    images, numbers = read_cifar_python([path, path])
    np.testing.assert_array_equal(images, np.concatenate([PIXELS, PIXELS]))
    np.testing.assert_array_equal(numbers, [3, 9, 3, 9])


def test_cifar100_has_fine_labels(tmp_path):
    path = tmp_path / "train"
    batch = {"data": PIXELS.reshape(2, -1), "fine_labels": [99, 1], "coarse_labels": [19, 0], "filenames": ["a", "b"]}
    path.write_bytes(pickle.dumps(batch))
    np.testing.assert_array_equal(read_cifar_python([path], "fine_labels")[1], [99, 1])
    with pytest.raises(RequestError, match=r"no 'labels' \(it has: coarse_labels, data, filenames, fine_labels\)"):
        read_cifar_python([path])


def test_cifar_binary(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"".join(bytes([label]) + image.tobytes() for label, image in zip((4, 7), PIXELS, strict=True)))
    images, labels = read_cifar_binary([path])
    np.testing.assert_array_equal(images, PIXELS)
    np.testing.assert_array_equal(labels, [4, 7])
    path.write_bytes(bytes([4, 77]) + PIXELS[0].tobytes())
    images, labels = read_cifar_binary([path], label_bytes=2)
    np.testing.assert_array_equal(images, PIXELS[:1])
    np.testing.assert_array_equal(labels, [77])


@pytest.mark.parametrize("contents", [b"", b"x" * 3072, b"x" * 3074])
def test_cifar_binary_is_whole_records(tmp_path, contents):
    (tmp_path / "data.bin").write_bytes(contents)
    with pytest.raises(RequestError, match="expected a multiple of 3073"):
        read_cifar_binary([tmp_path / "data.bin"])


class Evil:
    """Would run a command when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        (Evil(os.system, "touch ran"), "system"),
        (Evil(eval, "open('ran', 'w')"), "eval"),
        (Evil(getattr, dict, "fromkeys"), "getattr"),
        ({b"data": [Evil(os.system, "touch ran")]}, "system"),
        (datetime.date(2020, 1, 1), "datetime.date"),
        (np.array([Evil(os.system, "touch ran")], dtype=object), "array of object|system"),
        (np.array(["text"]), "array of <U4"),
    ],
)
def test_pickles_that_hold_anything_else_are_refused_by_name(tmp_path, monkeypatch, value, refused):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batch").write_bytes(pickle.dumps(value, protocol=2))
    with pytest.raises(RequestError, match=refused) as caught:
        read_pickle(tmp_path / "batch")
    assert "refused" in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_arrays_of_a_size_that_only_the_pickle_claims(tmp_path):
    huge = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85U\x01b\x87R."
    (tmp_path / "batch").write_bytes(b"\x80\x02" + huge)
    with pytest.raises(RequestError, match="unusual kind"):
        read_pickle(tmp_path / "batch")


def test_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "batch").write_bytes(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-7\x86R.")
    with pytest.raises(RequestError, match="'utf-7', which was refused"):
        read_pickle(tmp_path / "batch")


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([1, 2], "holds a list, expected the dictionary"),
        ({"labels": [1]}, "no 'data'"),
        ({"data": np.zeros((1, 3071), np.uint8), "labels": [1]}, r"shape \(N, 3072\)"),
        ({"data": np.zeros((1, 3072)), "labels": [1]}, r"shape \(N, 3072\)"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [1, 2]}, "1 images but 2 labels"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": ["one"]}, "whole numbers"),
    ],
)
def test_batches_that_are_none(tmp_path, batch, message):
    (tmp_path / "batch").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(RequestError, match=message):
        read_cifar_python([tmp_path / "batch"])


@given(st.data())
def test_damaged_pickles_end_in_one_line(tmp_path_factory, write, data):
    whole = write.python2_batch(PIXELS, [1, 2])
    cut = data.draw(st.integers(0, len(whole) - 1))
    noise = data.draw(st.binary(max_size=8))
    path = tmp_path_factory.mktemp("damaged") / "batch"
    path.write_bytes(whole[: cut % 250] + noise)
    with pytest.raises(RequestError) as caught:
        read_cifar_python([path])
    assert str(path) in str(caught.value)
