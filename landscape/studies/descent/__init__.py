"""Double descent: risk along a growing capacity, stored."""

from landscape.studies.descent.durations import EpochRecipe, SamplesRecipe
from landscape.studies.descent.features import FeaturesRecipe
from landscape.studies.descent.polynomial import PolynomialRecipe
from landscape.studies.descent.study import descent
from landscape.studies.descent.width import WidthRecipe

__all__ = ["EpochRecipe", "FeaturesRecipe", "PolynomialRecipe", "SamplesRecipe", "WidthRecipe", "descent"]
