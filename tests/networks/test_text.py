import stat
import sysconfig
from pathlib import Path

import pytest
import torch

from landscape.errors import RequestError
from landscape.networks import text
from landscape.networks.datasets import list_data, load_data, resolve_settings

VERSES = "Ge1:1 In the beginning.\n1Sa2:3 Talk no more.\nRev22:21 The grace. Amen.\n"
BIBLE = f"""#!/bin/sh
test "$1" = -f || exit 3
read first; read last
test "$first/$last" = gen1:1-rev22:21/q || exit 4
echo 'bible: Debian/BRS Release 4.36'
echo "Hit '?' for help."
printf '%s' '{VERSES}'
echo 'bible(KJV) [Re22:21]> q'
"""


@pytest.fixture
def bible(tmp_path, monkeypatch):
    """Install a program `bible` that does what a script says."""

    def install(script):
        program = tmp_path / "bible"
        program.write_text(script)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return str(program)

    return install


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A standard library of five files, two of them not part of it."""
    folder = tmp_path / "library"
    for name, content in {
        "b.py": "b = 'é'\n",
        "a/z.py": "z\n",
        "a.py": "a\n",
        "a/test/test_a.py": "no\n",
        "site-packages/torch.py": "no\n",
        "a/data.txt": "no\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, "utf-8")
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(folder)})
    return folder


def decode(data, source):
    """The text of the training split's windows, which lie a symbol apart, with the vocabulary of the whole text."""
    vocabulary = sorted(set(source))
    tokens = [*data.train.inputs[:, 0], *data.train.targets[-1]]
    return "".join(vocabulary[token] for token in tokens)


def test_symbols_are_numbered_in_order():
    tokens, vocabulary = text.encode("banana\n€")
    assert vocabulary == "\nabn€"
    assert tokens.dtype == torch.int64
    assert "".join(vocabulary[token] for token in tokens) == "banana\n€"
    assert text.encode("")[1] == ""


def test_kjv_keeps_the_verses_alone(bible):
    program = bible(BIBLE)
    data = load_data("kjv", settings={"context": "2", "stride": 1, "test_fraction": "0"})
    assert decode(data, VERSES) == VERSES
    assert data.num_classes == len(set(VERSES))
    assert data.source == program
    assert data.test is None


def test_kjv_takes_its_settings(bible):
    bible(BIBLE)
    data = load_data("kjv", settings={"context": 5, "stride": 2, "size": 40, "test_fraction": 0.25})
    assert data.train.inputs.shape == ((30 - 6) // 2 + 1, 5)
    assert data.test.inputs.shape == (1, 5)
    assert data.train.inputs.dtype == data.train.targets.dtype == torch.int64
    assert torch.equal(data.train.inputs[:, 1:], data.train.targets[:, :-1])


def test_kjv_without_the_program(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match=r"needs the program 'bible'.*apt install bible-kjv") as caught:
        load_data("kjv")
    assert len(str(caught.value).splitlines()) == 1
    row = next(row for row in list_data() if row.name == "kjv")
    assert (row.samples, row.found, row.obtain) == (None, None, "apt install bible-kjv")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("#!/bin/sh\nexit 5\n", "failed: .*exit status 5"),
        ("#!/bin/sh\necho no data file\n", "printed no verses"),
        ("nothing that runs", "failed: "),
    ],
)
def test_a_program_that_is_broken(bible, script, message):
    bible(script)
    with pytest.raises(RequestError, match=message) as caught:
        load_data("kjv")
    assert len(str(caught.value).splitlines()) == 1
    assert "apt install bible-kjv" in str(caught.value)


def test_stdlib_is_the_files_by_path(library):
    whole = "a\nz\nb = 'é'\n"  # a.py, a/z.py, b.py
    data = load_data("stdlib", settings={"context": 2, "stride": 1, "test_fraction": 0})
    assert decode(data, whole) == whole
    assert data.num_classes == len(set(whole))
    assert data.source == str(library)


def test_stdlib_cuts_at_a_byte_and_drops_half_a_symbol(library):
    bytes_before = len(b"a\nz\nb = '")
    for size, taken in (
        (bytes_before, "a\nz\nb = '"),
        (bytes_before + 1, "a\nz\nb = '"),
        (bytes_before + 2, "a\nz\nb = 'é"),
    ):
        data = load_data("stdlib", settings={"context": 2, "stride": 1, "test_fraction": 0, "size": size})
        assert decode(data, taken) == taken


def test_a_python_without_source_files(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(RequestError, match="no source files"):
        load_data("stdlib")


def test_this_pythons_library():
    first, again = (load_data("stdlib", settings={"size": 50_000}) for _ in range(2))
    assert first.digest == again.digest
    assert len(first.train.targets) == (45_000 - 1) // 64
    assert first.num_classes < 128
    assert load_data("stdlib", settings={"size": 50_001}).digest != first.digest
    assert Path(first.source).is_dir()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 60}, "too few for a window of context=64"),
        ({"context": 1}, "at least 2"),
        ({"contxt": 5}, "did you mean 'context'"),
        ({"test_fraction": 1}, "at most 0.9"),
        ({"size": "many"}, "whole number"),
    ],
)
def test_wrong_settings_are_one_line(settings, message):
    with pytest.raises(RequestError, match=message) as caught:
        load_data("stdlib", settings=settings)
    assert len(str(caught.value).splitlines()) == 1


def test_resolved_settings_are_complete():
    assert resolve_settings("stdlib", {"context": "64", "stride": "none"}) == {
        "context": 64,
        "stride": None,
        "size": 2_000_000,
        "test_fraction": 0.1,
    }
