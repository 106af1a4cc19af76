"""The texts that language models are trained on, by name: how each is found and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape import settings as text_settings
from landscape.networks import shards, text
from landscape.networks.splits import DataSet


@dataclass(frozen=True)
class Corpus:
    """A text.

    Args:
        function: Loads it; its keyword-only arguments are the settings.
        find: Where it was found, in words, for a first folder to look in; None if it wasn't.
        num_tokens: Size of the vocabulary by default, as far as is known without the text.
        obtain: How to get it; empty where nothing is needed.
        count: Counts training and test windows without loading them; None where loading is quick.
        in_folder: Whether it lies in a folder, so that the function takes the first one to look in.
    """

    function: Callable[..., DataSet]
    find: Callable[[Path | None], str | None]
    num_tokens: int
    obtain: str = ""
    count: Callable[[Path | None], tuple[int, int]] | None = None
    in_folder: bool = False

    def load(self, data_dir: Path | None, settings: Mapping[str, Any]) -> DataSet:
        """The windows of the text.

        Args:
            data_dir: First place to look in.
            settings: Keyword arguments of the function, which says what it raises.
        """
        return self.function(data_dir, **settings) if self.in_folder else self.function(**settings)

    def describe(self, data_dir: Path | None) -> tuple[tuple[int, int] | None, int]:
        """Numbers of training and test windows by default (None where it isn't found), and size of the vocabulary."""
        if self.find(data_dir) is None:
            return None, self.num_tokens
        if self.count is not None:
            return self.count(data_dir), self.num_tokens
        data = self.load(data_dir, {})
        return (len(data.train), len(data.test or ())), data.num_outputs

    @property
    def context(self) -> int:
        """Tokens in a window by default."""
        return int(text_settings.defaults(self.function)["context"])


def _shards_folder(data_dir: Path | None) -> str | None:
    """The folder in which shards were found."""
    found = shards.find_shards(data_dir)
    return None if found is None else str(found[0][0].parent)


CORPORA: dict[str, Corpus] = {
    "kjv": Corpus(text.kjv, lambda _: text.find_bible(), num_tokens=73, obtain=text.OBTAIN_KJV),
    "stdlib": Corpus(text.stdlib, lambda _: str(text.library_folder()), num_tokens=96),
    "tokens": Corpus(shards.tokens, _shards_folder, 50_257, shards.OBTAIN, shards.count_windows, in_folder=True),
}
