"""How the texts of options are read."""

from __future__ import annotations

from typing import Any

import click

from landscape.errors import RequestError


class Settings(click.ParamType):
    """`key=value`, given as often as there are settings."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Split at the first equals sign."""
        if isinstance(value, tuple):
            return value[0], value[1]
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            raise RequestError(f"'{value}' is no setting: expected KEY=VALUE, such as lr=0.1")
        return key.strip(), text.strip()


class Names(click.ParamType):
    """Names with commas between them."""

    name = "NAME,NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Read each name."""
        return value if isinstance(value, tuple) else tuple(name.strip() for name in str(value).split(","))


class Numbers(click.ParamType):
    """Numbers with commas between them."""

    name = "X,Y"

    def __init__(self, number: type[int] | type[float], example: str) -> None:
        self.number, self.example = number, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Read each number."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.number(text) for text in str(value).split(","))
        except ValueError:
            option = param.opts[0] if param else "option"
            raise RequestError(f"{option} '{value}': expected numbers such as {self.example}") from None
