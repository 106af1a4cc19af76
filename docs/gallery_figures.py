"""Sphinx-gallery shows pyplot's figures; ours are made without pyplot, so they are collected here."""

from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst


def scrape(_block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures that a block of an example has made.

    Args:
        block_vars: The example's variables, among other things.
        gallery_conf: Sphinx-gallery's configuration.

    Returns:
        Markup that shows the pictures.
    """
    names = block_vars["example_globals"]
    saved = []
    for figure in [value for value in names.values() if isinstance(value, Figure)]:
        if not getattr(figure, "is_shown", False):
            saved.append(next(block_vars["image_path_iterator"]))
            figure.savefig(saved[-1], dpi=200)
            figure.is_shown = True
    return figure_rst(saved, gallery_conf["src_dir"])
