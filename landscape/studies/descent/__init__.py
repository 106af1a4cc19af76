"""Double descent: risk along a growing capacity, stored."""

from landscape.studies.descent.features import FeaturesRecipe
from landscape.studies.descent.networks import EpochRecipe, SamplesRecipe, WidthRecipe
from landscape.studies.descent.polynomial import PolynomialRecipe
from landscape.studies.descent.study import descent

__all__ = ["EpochRecipe", "FeaturesRecipe", "PolynomialRecipe", "SamplesRecipe", "WidthRecipe", "descent"]
