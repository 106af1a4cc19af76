"""How a user's own model, data set or loss is named and found: `package.module:factory`."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from landscape.errors import RequestError


def is_factory(name: str) -> bool:
    """Whether a name asks for a user's own object, `package.module:name`, by its form alone."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in f"{module}.{attribute}".split("."))


def load_factory(kind: str, spec: str) -> Any:
    """Import the object that `package.module:name` names.

    Modules of the working folder are found as `python -m` finds them: the folder is put at the head of
    `sys.path`, and stays there, since a factory may import its neighbours only when it is called.

    Args:
        kind: What is asked for, such as "model"; used in messages.
        spec: `package.module:name`; the name may be dotted, `module:Class.method`.

    Returns:
        The object. Whether it is callable, and what it returns, is for the caller to judge.

    Raises:
        RequestError: If the form is wrong, the module can't be imported, or it has no such name.
    """
    if not is_factory(spec):
        raise RequestError(f"{kind} '{spec}' is not of the form package.module:name")
    module_name, _, path = spec.partition(":")
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise RequestError(
                f"{kind} '{spec}': no module named '{missing}' (looked on sys.path and in {folder}); "
                "run from its folder or set PYTHONPATH"
            ) from error
        raise RequestError(f"{kind} '{spec}': importing '{module_name}' needs '{missing}': install it") from error
    except Exception as error:
        raise RequestError(
            f"{kind} '{spec}': importing '{module_name}' failed with {type(error).__name__}: {error}"
        ) from error
    for name in path.split("."):
        if not hasattr(found, name):
            public = [other for other in dir(found) if not other.startswith("_")]
            near = difflib.get_close_matches(name, public, n=1, cutoff=0.5)
            hint = f": did you mean '{near[0]}'?" if near else ""
            raise RequestError(f"{kind} '{spec}': '{module_name}' has no '{name}'{hint}")
        found = getattr(found, name)
    return found


def call_factory(kind: str, spec: str, settings: Mapping[str, Any] | None = None) -> Any:
    """Import a factory and call it with the settings as keywords.

    Args:
        kind: What is asked for, such as "model".
        spec: `package.module:name`.
        settings: Keyword arguments of the factory.

    Returns:
        What the factory returned.

    Raises:
        RequestError: If it can't be imported, can't be called with these settings, or raises.
    """
    factory = load_factory(kind, spec)
    if not callable(factory):
        raise RequestError(f"{kind} '{spec}' is {_article(factory)}, expected a function or class to call")
    arguments = dict(settings or {})
    _check_arguments(kind, spec, factory, arguments)
    try:
        return factory(**arguments)
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(f"{kind} '{spec}' raised {type(error).__name__}: {error}") from error


def _check_arguments(kind: str, spec: str, factory: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Say in one line which settings a factory lacks or doesn't know."""
    try:
        signature = inspect.signature(factory)
    except ValueError:  # some builtins have none; the call itself then decides
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise RequestError(f"{kind} '{spec}' can't be called with these settings: {error}") from error


def _article(value: object) -> str:
    """A value's type in words."""
    return f"a value of type {type(value).__name__}"
