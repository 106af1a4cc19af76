"""Settings by name: the keyword-only parameters of a function are its settings, their annotations the types."""

from __future__ import annotations

import inspect
import math
import numbers
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from landscape.errors import RequestError, unknown


@dataclass(frozen=True)
class Range:
    """The numbers that a setting takes, both ends included, or neither."""

    minimum: float
    maximum: float = math.inf
    open: bool = False

    def __contains__(self, number: float) -> bool:
        """Whether a number lies in the range."""
        if self.open:
            return self.minimum < number < self.maximum
        return self.minimum <= number <= self.maximum

    def __str__(self) -> str:
        """The range in words."""
        above, below = ("more than", "less than") if self.open else ("at least", "at most")
        limit = "" if self.maximum == math.inf else f" and {below} {self.maximum:g}"
        return f"{above} {self.minimum:g}{limit}"


@dataclass(frozen=True)
class HalfOpen(Range):
    """The numbers from a minimum up to, but not at, a maximum."""

    def __contains__(self, number: float) -> bool:
        """Whether a number lies in the range."""
        return self.minimum <= number < self.maximum

    def __str__(self) -> str:
        """The range in words."""
        return f"at least {self.minimum:g} and less than {self.maximum:g}"


class Infinite:
    """Marks a number that may be infinite; that is kept as the text "inf", which JSON can hold and float() reads."""


Count = Annotated[int, Range(1)]
Seed = Annotated[int, Range(0)]
NonNegativeCount = Annotated[int, Range(0)]
Draws = Annotated[int, Range(2)]
"""A number of draws whose scatter tells the standard error."""
Fraction = Annotated[float, Range(0, 1)]
NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, open=True)]
Decay = Annotated[float, HalfOpen(0, 1)]
"""A factor such as momentum, by which a value shrinks from step to step."""
Exponent = Annotated[float, Range(1), Infinite]
"""The exponent of an lp norm, from 1 to infinity."""


def defaults(function: Callable[..., Any], hidden: Collection[str] = ()) -> dict[str, Any]:
    """The settings of a function and their default values.

    Args:
        function: A function whose keyword-only parameters, all with defaults, are its settings.
        hidden: Names that are no settings, because the caller fixes them.

    Returns:
        Default value by name, in the order of the signature.
    """
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in hidden}


def accepts(function: Callable[..., Any], hidden: Collection[str] = ()) -> dict[str, str]:
    """What each setting of a function takes, in words such as "number more than 0"."""
    kinds = get_type_hints(function, include_extras=True)
    return {name: _words(kinds[name]) for name in defaults(function, hidden)}


def _words(kind: Any) -> str:
    """An annotated type in words."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits = [str(limit) for limit in parts[1:] if isinstance(limit, Range)]
        return " ".join([_words(parts[0]), *limits, *(["or inf"] if Infinite in parts else [])])
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin in (Union, types.UnionType):
        return " or ".join("none" if part is types.NoneType else _words(part) for part in parts)
    if origin is tuple:
        return f"{_words(parts[0])}, several by commas"
    return {bool: "yes or no", int: "whole number", float: "number", str: "text"}.get(kind, str(kind))


def resolve(
    owner: str, function: Callable[..., Any], settings: Mapping[str, Any] | None, hidden: Collection[str] = ()
) -> dict[str, Any]:
    """Check settings against a function and fill in its defaults.

    Text, as it comes from a command line, is read as the setting's type: `"64,64"` becomes `(64, 64)` for a
    tuple, `"no"` becomes False for a truth value.

    Args:
        owner: Whose settings they are, such as "model 'mlp'"; used in messages.
        function: A function whose keyword-only parameters, all with defaults, are its settings.
        settings: Values by name.
        hidden: Names that are no settings, because the caller fixes them.

    Returns:
        Every setting of the function, converted to its annotated type.

    Raises:
        RequestError: If a setting is unknown, of the wrong type, or out of range.
    """
    values = defaults(function, hidden)
    kinds = get_type_hints(function, include_extras=True)
    for name, value in (settings or {}).items():
        if not values:
            raise RequestError(f"{owner} has no settings, but '{name}' was given")
        if name not in values:
            raise unknown(f"setting of {owner}", name, values)
        values[name] = _convert(f"{owner}: setting '{name}'", value, kinds[name])
    return values


def _convert(what: str, value: Any, kind: Any) -> Any:
    """A value as its annotated type."""
    origin = get_origin(kind)
    if origin is Annotated:
        base, *limits = get_args(kind)
        if Infinite in limits and str(value).strip().lower() in ("inf", "infinity"):
            return "inf"
        converted = _convert(what, value, base)
        for limit in limits:
            if isinstance(limit, Range) and converted not in limit:
                raise RequestError(f"{what} must be {limit}, got {value!r}")
        return converted
    if origin is Literal:
        if value not in get_args(kind):
            raise unknown(f"value of {what.removesuffix(':')}", str(value), map(str, get_args(kind)))
        return value
    if origin in (Union, types.UnionType):
        if value is None or value == "none":
            return None
        return _convert(what, value, next(k for k in get_args(kind) if k is not types.NoneType))
    if origin is tuple:
        item = get_args(kind)[0]
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            items = [items]
        return tuple(_convert(what, one, item) for one in items if one != "")
    return _convert_scalar(what, value, kind)


def _convert_scalar(what: str, value: Any, kind: type) -> Any:
    """A value as bool, int, float or str."""
    text = value.strip().lower() if isinstance(value, str) else None
    if kind is bool:
        if isinstance(value, bool):
            return value
        if text in ("true", "yes", "on", "1"):
            return True
        if text in ("false", "no", "off", "0"):
            return False
        raise RequestError(f"{what} must be true or false, got {value!r}")
    if kind is str:
        if isinstance(value, str):
            return value
        raise RequestError(f"{what} must be text, got {value!r}")
    if isinstance(value, bool):
        raise RequestError(f"{what} must be a number, got {value!r}")
    try:
        number = float(value) if text is not None or isinstance(value, numbers.Real) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RequestError(f"{what} must be a {'whole ' if kind is int else ''}number, got {value!r}")
    if kind is int:
        if number != int(number):
            raise RequestError(f"{what} must be a whole number, got {value!r}")
        return int(number)
    return number
