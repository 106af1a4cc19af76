"""Surfaces: the loss on a grid along one to three directions from checkpoints."""

from landscape.studies.surface.names import find_metrics, tell_directions
from landscape.studies.surface.recipe import SurfaceRecipe
from landscape.studies.surface.study import surface

__all__ = ["SurfaceRecipe", "find_metrics", "surface", "tell_directions"]
