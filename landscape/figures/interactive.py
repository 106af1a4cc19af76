"""Surfaces to turn and to zoom in a browser: one HTML file that holds all it needs and opens without a network."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import to_hex

from landscape.errors import RequestError
from landscape.figures.scale import Scale
from landscape.figures.surface import FLATTEST, TALLEST, Chosen, choose

TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><style>body {{ margin: 0 }}</style></head>
<body>
{figure}
</body>
</html>
"""
HEIGHT = 0.7
"""Height of the box that holds a surface, in units of its longer side."""
LIGHT = {"ambient": 0.8, "diffuse": 0.35, "specular": 0.03, "roughness": 0.9, "fresnel": 0.0}
"""Mostly from everywhere, so that shading hardly changes the colours."""
EYE = {"x": -1.1, "y": -1.55, "z": 1.05}


def interactive_page(tree: xr.DataTree, **options: Any) -> str:
    """The figure of `interactive_figure` as a page of HTML with plotly's code in it.

    Args:
        tree: A `surface` store with two axes.
        **options: Those of `interactive_figure`.

    Returns:
        The page; the same one for the same data and the same plotly.

    Raises:
        RequestError: As `interactive_figure`.
    """
    figure = interactive_figure(tree, **options)
    settings = {"responsive": True, "displaylogo": False}
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=True, div_id="surface", default_height="98vh", config=settings
    )
    return TEMPLATE.format(title=figure.layout.meta, figure=drawn)


def interactive_figure(
    tree: xr.DataTree,
    *,
    checkpoint: str | None = None,
    split: str | None = None,
    quantity: str | None = None,
    height: str = "log",
) -> Any:
    """The surface over the plane; several checkpoints share the axes and the colours, and one is chosen from a list.

    The colours are the bands of the contour figure. Points that are not finite or not computed are holes. Pointing at a
    place shows the value and its standard error as they were measured, also above the cap.

    Args:
        tree: A `surface` store with two axes.
        checkpoint: Name of the checkpoint that is drawn; all if None.
        split: The split, `train` if None.
        quantity: `loss` if None, `error` or another metric.
        height: `log`, the log-like scale of the colours, or `linear`, the value itself, both up to the cap.

    Returns:
        A `plotly.graph_objects.Figure`; a trace for each checkpoint, and one for those that span the plane, if any do.

    Raises:
        RequestError: If plotly isn't installed, the store lacks what is asked for or has another number of axes.
    """
    chosen = choose(tree, checkpoint, split, quantity, limit=None)
    if len(chosen.axes) != 2:
        instead = f"a {'.vts, ' if len(chosen.axes) == 3 else ''}.pdf, .png or .svg file"
        raise RequestError(
            f"an .html figure needs a surface with 2 axes, this one has {len(chosen.axes)}: name {instead}"
        )
    objects = _plotly()
    titles = [_text(title) for title in chosen.titles]
    traces = [objects.Surface(**_surface(chosen, position, height)) for position in range(len(titles))]
    if chosen.marks is not None:
        traces.append(objects.Scatter3d(**_marks(chosen, height)))
    figure = objects.Figure(traces)
    figure.update_layout(
        template="plotly_white",
        meta=" – ".join(_text(text) for text in (chosen.label, ", ".join(chosen.names))),
        title={"text": titles[0], "x": 0.5},
        scene=_scene(chosen, height),
        coloraxis=_colours(chosen.scale, _text(chosen.label)),
        margin={"l": 0, "r": 0, "b": 0, "t": 60},
        showlegend=False,
    )
    holes = ~(chosen.computed & np.isfinite(chosen.values.values))
    if holes.any():
        note = "holes: points that are not finite or not computed yet"
        figure.add_annotation(text=note, showarrow=False, x=0.5, y=0, xref="paper", yref="paper", yanchor="bottom")
    if len(titles) > 1:
        figure.update_layout(updatemenus=[_menu(titles, len(traces))])
    return figure


def _plotly() -> Any:
    """The library, an extra of ours."""
    try:
        from plotly import graph_objects
    except ImportError as error:
        raise RequestError(
            "an .html figure needs plotly, which isn't installed: `pip install 'torch-landscape[interactive]'`, "
            "or name a .pdf, .png or .svg file"
        ) from error
    return graph_objects


def _text(label: str) -> str:
    """A label as it is: plotly reads tags in a text, and dollar signs were masked for matplotlib."""
    return html.escape(label.replace(r"\$", "$"), quote=False)


def _numbers(values: np.ndarray) -> Any:
    """Nested lists; None, which leaves a hole, for what isn't finite."""
    listed = values.astype(object)
    listed[~np.isfinite(values)] = None
    return listed.tolist()


def _surface(chosen: Chosen, position: int, height: str) -> dict[str, Any]:
    """One checkpoint's surface."""
    values, scale = chosen.values.isel(checkpoint=position), chosen.scale
    measured = np.where(chosen.computed[position], values.values, np.nan)
    name = str(values.name)
    stderr = chosen.data[f"{name}_stderr"].isel(checkpoint=position).sel(split=chosen.split)
    exact = np.stack([measured, stderr.transpose(*values.dims).values], axis=-1)
    return {
        "name": _text(chosen.names[position]),
        "x": values["alpha"].values.tolist(),
        "y": values["beta"].values.tolist(),
        "z": _numbers(scale.relief(measured, height)),
        "surfacecolor": _numbers(_colour(scale, measured)),
        "customdata": _numbers(exact),
        "coloraxis": "coloraxis",
        "lighting": LIGHT,
        "visible": position == 0,
        "connectgaps": False,
        "hovertemplate": "α %{x:.4g}<br>β %{y:.4g}<br>"
        f"{_text(name)} %{{customdata[0]:.6g}} ± %{{customdata[1]:.2g}}"
        "<extra>%{fullData.name}</extra>",
    }


def _marks(chosen: Chosen, height: str) -> dict[str, Any]:
    """The checkpoints that span the plane at the height and in the colour of their own values; a run's as a path."""
    assert chosen.marks is not None
    marks, scale = chosen.marks, chosen.scale
    own = marks[str(chosen.values.name)].sel(split=chosen.split).values
    line = chosen.data.attrs.get("directions") == "pca"
    return {
        "name": "checkpoints",
        "mode": "lines+markers" if line else "markers",
        "x": marks["point_alpha"].values.tolist(),
        "y": marks["point_beta"].values.tolist(),
        "z": _numbers(scale.relief(own, height)),
        "text": [_text(str(name)) for name in marks["name"].values],
        "customdata": _numbers(np.stack([own, marks["residual"].values], axis=-1)),
        "line": {"color": "black", "width": 3},
        "marker": {
            "size": 5,
            "color": _numbers(_colour(scale, own)),
            "coloraxis": "coloraxis",
            "line": {"color": "black", "width": 1},
        },
        "hovertemplate": "%{text}<br>its own value %{customdata[0]:.6g}<br>distance from the plane %{customdata[1]:.3g}"
        "<extra></extra>",
    }


def _colour(scale: Scale, values: np.ndarray) -> np.ndarray:
    """Values on the colour scale; those above the cap at its end."""
    filled: np.ndarray = scale.height(np.minimum(values, scale.boundaries[-1])).filled(np.nan)
    return np.where(np.isfinite(values), filled, np.nan)


def _colours(scale: Scale, label: str) -> dict[str, Any]:
    """The bands of the contour figure and their colour bar."""
    edges = scale.height(scale.boundaries).filled(0)
    shares = edges / edges[-1]
    colours = [to_hex(colour) for colour in scale.mappable.get_cmap()(np.arange(len(edges) - 1))]
    steps = []
    for low, high, colour in zip(shares[:-1], shares[1:], colours, strict=True):
        steps += [[float(low), colour], [float(high), colour]]
    places, names = scale.ticks()
    bar = {
        "title": {"text": label, "side": "right"},
        "tickmode": "array",
        "tickvals": scale.height(np.array(places)).filled(0).tolist(),
        "ticktext": [_text(name) for name in names],
        "len": 0.75,
    }
    return {"colorscale": steps, "cmin": 0.0, "cmax": float(edges[-1]), "colorbar": bar}


def _scene(chosen: Chosen, height: str) -> dict[str, Any]:
    """Axes with their units, in the true proportions where they aren't extreme."""
    alpha, beta = (float(np.ptp(chosen.values[axis].values)) for axis in ("alpha", "beta"))
    ratio = float(np.clip(alpha / beta, FLATTEST, TALLEST))
    levels = chosen.scale.levels
    upright: dict[str, Any] = {"title": {"text": _text(chosen.label)}}
    if height == "log":
        upright |= {
            "tickmode": "array",
            "tickvals": chosen.scale.relief(levels).tolist(),
            "ticktext": [f"{level:.6g}" for level in levels],
        }
    return {
        "xaxis": {"title": {"text": _text(chosen.axis_label("alpha"))}},
        "yaxis": {"title": {"text": _text(chosen.axis_label("beta"))}},
        "zaxis": upright,
        "aspectmode": "manual",
        "aspectratio": {"x": min(ratio, 1.0), "y": min(1 / ratio, 1.0), "z": HEIGHT},
        "camera": {"eye": EYE},
    }


def _menu(titles: list[str], count: int) -> dict[str, Any]:
    """The list from which a checkpoint is chosen; what spans the plane stays."""
    buttons = [
        {
            "label": title,
            "method": "update",
            "args": [
                {"visible": [place == position or place >= len(titles) for place in range(count)]},
                {"title.text": title},
            ],
        }
        for position, title in enumerate(titles)
    ]
    return {"buttons": buttons, "direction": "down", "x": 0.01, "xanchor": "left", "y": 0.99, "yanchor": "top"}
