"""Character-level text: the King James Bible as Debian packages it, and Python's own source files.

The vocabulary is the set of symbols that occur; a token is a symbol's rank among them. The first part of the text is
for training and the last for the test. See `windows` for how a text becomes a data set without a copy per window.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from landscape.errors import RequestError, reason
from landscape.networks.splits import DataSet
from landscape.networks.windows import Context, TestFraction, language_data
from landscape.settings import Count

OBTAIN_KJV = "apt install bible-kjv"
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
"""Folders of Python's library that not every installation has."""
VERSE = re.compile(r"^\w+?\d+:\d+ .*$", re.MULTILINE)


def kjv(
    *,
    context: Context = 64,
    stride: Count | None = None,
    size: Count | None = None,
    test_fraction: TestFraction = 0.1,
) -> DataSet:
    """The King James Bible, a verse to a line, from the program `bible` (Debian's bible-kjv).

    Args:
        context: Symbols in a window.
        stride: From one training window's start to the next; the context's length where none is given.
        size: Bytes of the text to take, from its start; all where none is given.
        test_fraction: Part of the text, at its end, that is the test's.

    Returns:
        Tokens `(N, context)` and the same shifted by one, int64.

    Raises:
        RequestError: If the program isn't installed or prints no verses, or the text is too short.
    """
    program = find_bible()
    if program is None:
        raise RequestError(
            f"data set 'kjv' needs the program 'bible', which is not installed; get it with: {OBTAIN_KJV}"
        )
    try:
        # The program looks for another text in the working folder first.
        done = subprocess.run(
            [program, "-f"], input=b"gen1:1-rev22:21\nq\n", capture_output=True, cwd="/", check=True, timeout=120
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RequestError(f"data set 'kjv': {program} failed: {reason(error)}; try: {OBTAIN_KJV}") from error
    verses = VERSE.findall(done.stdout.decode("utf-8", errors="replace"))  # without the banner and prompts
    if not verses:
        raise RequestError(f"data set 'kjv': {program} printed no verses; expected that of: {OBTAIN_KJV}")
    text = "\n".join([*verses, ""])[:size]
    return _characters("kjv", text, context, stride, test_fraction, program)


def find_bible() -> str | None:
    """Where the program `bible` is installed; None if it isn't."""
    return shutil.which("bible")


def stdlib(
    *,
    context: Context = 64,
    stride: Count | None = None,
    size: Count = 2_000_000,
    test_fraction: TestFraction = 0.1,
) -> DataSet:
    """The source files of the running Python's standard library, one after the other by path.

    They differ from one version of Python to the next, and the data set's digest with them. Its tests and whatever was
    installed later don't belong to it.

    Args:
        context: Symbols in a window.
        stride: From one training window's start to the next; the context's length where none is given.
        size: Bytes of text to take, from the first file on; there are some 12 million.
        test_fraction: Part of the text, at its end, that is the test's.

    Returns:
        Tokens `(N, context)` and the same shifted by one, int64.

    Raises:
        RequestError: If this Python comes without its source files, or the text is too short.
    """
    folder = library_folder()
    parts, taken = [], 0
    for path in _sources(folder):
        parts.append(path.read_bytes()[: size - taken])
        taken += len(parts[-1])
        if taken >= size:
            break
    if not parts:
        raise RequestError(f"data set 'stdlib': this Python has no source files in {folder}; choose other data")
    text = b"".join(parts).decode("utf-8", errors="ignore")  # the last symbol may be cut
    return _characters("stdlib", text, context, stride, test_fraction, str(folder))


def library_folder() -> Path:
    """Where the running Python's standard library lies."""
    return Path(sysconfig.get_paths()["stdlib"])


def _sources(folder: Path) -> list[Path]:
    """The source files of a library in the order of their paths, whatever the file system's."""
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED]
        paths = (Path(place, name) for name in names if name.endswith(".py"))
        found |= {path.relative_to(folder).as_posix(): path for path in paths}
    return [found[name] for name in sorted(found)]


def encode(text: str) -> tuple[Tensor, str]:
    """Number the symbols of a text.

    Args:
        text: `L` symbols.

    Returns:
        Tokens, int64 of shape `(L,)`, and the vocabulary in the order of code points: `vocabulary[token]` is a symbol.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    occurring = np.flatnonzero(np.bincount(codes)) if len(codes) else np.zeros(0, dtype=np.int64)
    rank = np.zeros(int(occurring[-1]) + 1 if len(occurring) else 0, dtype=np.int64)
    rank[occurring] = np.arange(len(occurring))
    return torch.from_numpy(rank[codes]), "".join(map(chr, occurring))


def _characters(name: str, text: str, context: int, stride: int | None, test_fraction: float, source: str) -> DataSet:
    """A text as a data set of windows."""
    tokens, vocabulary = encode(text)
    return language_data(
        name,
        tokens,
        num_tokens=len(vocabulary),
        context=context,
        stride=stride,
        test_fraction=test_fraction,
        source=source,
    )
