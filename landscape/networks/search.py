"""Where data sets are looked for; nothing is ever downloaded."""

from __future__ import annotations

import os
from pathlib import Path

from landscape.errors import RequestError

SYSTEM_FOLDERS = (Path("/usr/share/datasets"), Path("/usr/local/share/datasets"))


def search_path(data_dir: Path | None = None) -> list[Path]:
    """The folders to look in, in order.

    Args:
        data_dir: A folder that the user named; the first place.

    Returns:
        That folder, those of the environment variable `LANDSCAPE_DATA`, the system's.

    Raises:
        RequestError: If the named folder doesn't exist.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise RequestError(f"the data folder {data_dir} doesn't exist; name one that holds data sets")
    named = [] if data_dir is None else [data_dir]
    variable = os.environ.get("LANDSCAPE_DATA", "")
    places = [*named, *(Path(text) for text in variable.split(os.pathsep) if text), *SYSTEM_FOLDERS]
    return list(dict.fromkeys(places))
