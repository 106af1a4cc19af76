"""Sharpness: measures at networks, stored."""

from landscape.studies.sharpness.recipe import SharpnessRecipe
from landscape.studies.sharpness.study import sharpness

__all__ = ["SharpnessRecipe", "sharpness"]
