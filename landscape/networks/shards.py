"""Shards of tokens as the NanoGPT speedrun stores FineWeb: a header of 256 int32, `(20240520, 1, n)`, then n uint16.

One shard of a split is memory-mapped and never copied; several are joined at 2 bytes a token, and no more of them are
read than `size` asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from landscape.errors import RequestError, reason
from landscape.networks.search import search_path
from landscape.networks.splits import DataSet
from landscape.networks.windows import Context, TestFraction, language_data
from landscape.settings import Count

MAGIC, VERSION, HEADER_BYTES = 20240520, 1, 1024
FOLDERS = ("fineweb10B", "tokens", ".")
TRAIN, TEST = "*_train_*.bin", "*_val_*.bin"
OBTAIN = "data/cached_fineweb10B.py of https://github.com/KellerJordan/modded-nanogpt"


@dataclass(frozen=True)
class Shard:
    """A file of tokens whose header fits its size.

    Args:
        path: The file.
        num_tokens: Number of tokens in it.
    """

    path: Path
    num_tokens: int

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Read and check the header.

        Raises:
            RequestError: If the file can't be read, is no shard, or is truncated.
        """
        try:
            size = path.stat().st_size
            header = np.fromfile(path, dtype="<i4", count=3)
        except OSError as error:
            raise RequestError(f"token shard {path} can't be read: {reason(error)}") from error
        if size < HEADER_BYTES:
            raise RequestError(f"token shard {path} is truncated: {size} bytes, less than its header of {HEADER_BYTES}")
        magic, version, count = map(int, header)
        if (magic, version) != (MAGIC, VERSION):
            raise RequestError(
                f"token shard {path} begins with ({magic}, {version}), expected ({MAGIC}, {VERSION}): it is no shard "
                f"of uint16 tokens; get one with: {OBTAIN}"
            )
        if count < 0 or size != HEADER_BYTES + 2 * count:
            raise RequestError(
                f"token shard {path} is truncated or damaged: its header says {count} tokens, that is "
                f"{HEADER_BYTES + 2 * count} bytes, but it has {size}; get it again"
            )
        return cls(path, count)

    def tokens(self, limit: int, vocabulary: int) -> np.ndarray:
        """The first tokens, memory-mapped.

        Args:
            limit: At most so many.
            vocabulary: Every token must be less than this.

        Raises:
            RequestError: If one isn't.
        """
        if not self.num_tokens:  # what can't be mapped
            return np.zeros(0, dtype="<u2")
        # "c" lets torch have the memory as its own without a warning; nothing ever writes to it.
        mapped = np.memmap(self.path, "<u2", "c", HEADER_BYTES, (self.num_tokens,))[:limit]
        if len(mapped) and int(mapped.max()) >= vocabulary:
            position = int(np.argmax(mapped >= vocabulary))
            raise RequestError(
                f"token shard {self.path} holds token {int(mapped[position])} at position {position}, outside the "
                f"vocabulary of {vocabulary}; set vocabulary to the tokenizer's"
            )
        return mapped


def find_shards(data_dir: Path | None = None) -> tuple[list[Path], list[Path]] | None:
    """The shards of both splits in the first folder that has training shards, in order; None if none has."""
    for place in search_path(data_dir):
        for folder in FOLDERS:
            if train := sorted((place / folder).glob(TRAIN)):
                return train, sorted((place / folder).glob(TEST))
    return None


def count_windows(data_dir: Path | None = None, context: int = 1024) -> tuple[int, int]:
    """Windows in all shards of the two splits that were found, from their headers alone."""
    train, test = find_shards(data_dir) or ([], [])
    counts = [sum(Shard.open(path).num_tokens for path in paths) for paths in (train, test)]
    return max(0, counts[0] - 1) // context, max(0, counts[1] - 1) // context


def tokens(
    data_dir: Path | None = None,
    *,
    context: Context = 1024,
    stride: Count | None = None,
    size: Count | None = None,
    test_size: Count = 10_485_760,
    vocabulary: Count = 50_257,
    test_fraction: TestFraction = 0.1,
) -> DataSet:
    """Shards `*_train_*.bin` and `*_val_*.bin` of the folder `fineweb10B` or `tokens` of the search path.

    Args:
        data_dir: First place to look in.
        context: Tokens in a window.
        stride: From one training window's start to the next; the context's length where none is given.
        size: Training tokens, from the first shard on; all where none is given.
        test_size: Tokens of the validation shards to take; by default as many as the speedrun does.
        vocabulary: Number of tokens that the tokenizer knows, 50,257 for GPT-2's.
        test_fraction: Where there is no validation shard: the last part of the training tokens that is the test's.

    Returns:
        Tokens `(N, context)` and the same shifted by one, uint16 views of the file, which are widened batch by batch.

    Raises:
        RequestError: If there are no shards, or one is damaged, truncated or holds tokens outside the vocabulary.
    """
    found = find_shards(data_dir)
    if found is None:
        places = ", ".join(map(str, search_path(data_dir))) or "any folder"
        raise RequestError(
            f"data set 'tokens': no shards {TRAIN} in {places}, nor in their folders {FOLDERS[0]} or {FOLDERS[1]}; "
            f"get them with: {OBTAIN}; name their folder by --data-dir or $LANDSCAPE_DATA"
        )
    train, test = found
    return language_data(
        "tokens",
        _read(train, size, vocabulary),
        _read(test, test_size, vocabulary) if test else None,
        num_tokens=vocabulary,
        context=context,
        stride=stride,
        test_fraction=test_fraction,
        source=str(train[0].parent),
    )


def _read(paths: Sequence[Path], limit: int | None, vocabulary: int) -> Tensor:
    """The first tokens of several shards, uint16 of shape `(L,)`."""
    parts: list[np.ndarray] = []
    for path in paths:
        shard = Shard.open(path)
        parts.append(shard.tokens(shard.num_tokens if limit is None else limit - sum(map(len, parts)), vocabulary))
        if limit is not None and sum(map(len, parts)) >= limit:
            break
    return torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))
