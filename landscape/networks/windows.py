"""Windows of tokens: a long sequence as a data set for language models, without a copy of it.

The windows of a sequence are strided views of one tensor. Inputs and targets, which are the inputs shifted by one,
share it, so that a data set costs no more than the sequence: 8 bytes a token for int64, and 2 for the uint16 of token
shards, which stay memory-mapped on the CPU and are widened batch by batch (see `Samples`). Only where the data are
moved to another device are inputs and targets written out there, at the sequence's own width.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from landscape.errors import RequestError
from landscape.networks.splits import DataSet, Split
from landscape.settings import Range

Context = Annotated[int, Range(2)]
"""Tokens in a window; a data set refuses targets of shape `(N, 1)`, most often labels that should be `(N,)`."""
TestFraction = Annotated[float, Range(0, 0.9)]


def windows(what: str, tokens: Tensor, context: int, stride: int | None = None) -> Split:
    r"""Cut a sequence into windows :math:`x_{ks}, \dots, x_{ks+T-1}` and targets :math:`x_{ks+1}, \dots, x_{ks+T}`.

    Args:
        what: What the sequence is, for the message.
        tokens: The sequence, shape `(L,)`, int64 or uint16.
        context: The length `T` of a window.
        stride: The distance `s` from one window's start to the next; `T` where none is given, so that each token is
            a target once.

    Returns:
        Inputs and targets `(N, T)`, both views of `tokens`; what is left over at the end belongs to no window.

    Raises:
        RequestError: If the sequence is shorter than one window and its last target.
    """
    if len(tokens) <= context:
        raise RequestError(
            f"{what} has {len(tokens)} tokens, too few for a window of context={context} and the token after it; "
            "choose a smaller context or more text"
        )
    stride = stride or context
    return Split(tokens[:-1].unfold(0, context, stride), tokens[1:].unfold(0, context, stride))


def language_data(
    name: str,
    train: Tensor,
    test: Tensor | None = None,
    *,
    num_tokens: int,
    context: int,
    stride: int | None,
    test_fraction: float,
    source: str,
) -> DataSet:
    """A data set of windows over one sequence, divided by position, or over two.

    Args:
        name: Name of the data set.
        train: The sequence, shape `(L,)`.
        test: The sequence of the test split; None divides `train`: its last part is the test's, and no window
            reaches across.
        num_tokens: Size of the vocabulary.
        context: Length of a window.
        stride: Distance between the starts of training windows; those of the test never overlap.
        test_fraction: Part of the tokens that the test gets where it has none of its own; 0 for no test split.
        source: Where the text came from.

    Raises:
        RequestError: If a part is too short for one window, or holds a token outside the vocabulary.
    """
    if test is None and test_fraction > 0:
        cut = len(train) - round(test_fraction * len(train))
        train, test = train[:cut], train[cut:]
    return DataSet(
        name,
        train=windows(f"data set '{name}', train split,", train, context, stride),
        test=None if test is None else windows(f"data set '{name}', test split,", test, context),
        num_classes=num_tokens,
        source=source,
    )
