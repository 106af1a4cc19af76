"""The research toolkit for neural-network loss landscapes.

A checkpoint walks forward through the house: weights, objective, coordinates, measured values, a Zarr store,
analysis, figure. The names below are imported when first used, so that `import landscape` itself stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.figures import draw
    from landscape.geometry.slices import Affine, Bezier, Line, Polyline
    from landscape.networks.checkpoint import load_checkpoint
    from landscape.networks.datasets import load_data
    from landscape.networks.models import build_model
    from landscape.networks.training import TrainingRecipe, train
    from landscape.objective.objective import Objective
    from landscape.optimizers.registry import make_optimizer
    from landscape.studies.connect import ConnectRecipe, CurveRecipe, connect, load_curve
    from landscape.studies.descent import (
        EpochRecipe,
        FeaturesRecipe,
        PolynomialRecipe,
        SamplesRecipe,
        WidthRecipe,
        descent,
    )
    from landscape.studies.grok import GrokRecipe, grok
    from landscape.studies.sharpness import SharpnessRecipe, sharpness
    from landscape.studies.surface import SurfaceRecipe, surface
    from landscape.sweeps.store import open

    __version__: str

_HOMES = {
    "Affine": "landscape.geometry.slices",
    "Bezier": "landscape.geometry.slices",
    "ConnectRecipe": "landscape.studies.connect",
    "CurveRecipe": "landscape.studies.connect",
    "EpochRecipe": "landscape.studies.descent",
    "FeaturesRecipe": "landscape.studies.descent",
    "GrokRecipe": "landscape.studies.grok",
    "Line": "landscape.geometry.slices",
    "Objective": "landscape.objective.objective",
    "Polyline": "landscape.geometry.slices",
    "PolynomialRecipe": "landscape.studies.descent",
    "SamplesRecipe": "landscape.studies.descent",
    "SharpnessRecipe": "landscape.studies.sharpness",
    "SurfaceRecipe": "landscape.studies.surface",
    "TrainingRecipe": "landscape.networks.training",
    "WidthRecipe": "landscape.studies.descent",
    "build_model": "landscape.networks.models",
    "connect": "landscape.studies.connect",
    "descent": "landscape.studies.descent",
    "draw": "landscape.figures",
    "grok": "landscape.studies.grok",
    "load_checkpoint": "landscape.networks.checkpoint",
    "load_curve": "landscape.studies.connect",
    "load_data": "landscape.networks.datasets",
    "make_optimizer": "landscape.optimizers.registry",
    "open": "landscape.sweeps.store",
    "sharpness": "landscape.studies.sharpness",
    "surface": "landscape.studies.surface",
    "train": "landscape.networks.training",
}

__all__ = [
    "Affine",
    "Bezier",
    "ConnectRecipe",
    "CurveRecipe",
    "EpochRecipe",
    "FeaturesRecipe",
    "GrokRecipe",
    "Line",
    "Objective",
    "Polyline",
    "PolynomialRecipe",
    "SamplesRecipe",
    "SharpnessRecipe",
    "SurfaceRecipe",
    "TrainingRecipe",
    "WidthRecipe",
    "build_model",
    "connect",
    "descent",
    "draw",
    "grok",
    "load_checkpoint",
    "load_curve",
    "load_data",
    "make_optimizer",
    "open",
    "sharpness",
    "surface",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a name from its home when it is first used, and keep it.

    Raises:
        AttributeError: If the name is none of ours.
    """
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("torch-landscape")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'landscape' has no attribute '{name}' (it offers {', '.join(__all__)})")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The names on offer, whether they have been imported yet or not."""
    return sorted({*globals(), *__all__, "__version__"})
