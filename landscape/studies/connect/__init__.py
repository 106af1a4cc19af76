"""Mode connectivity: curves of low loss between networks, and the loss along them."""

from landscape.studies.connect.fits import load_curve
from landscape.studies.connect.fitting import CurveRecipe
from landscape.studies.connect.recipe import ConnectRecipe
from landscape.studies.connect.study import connect

__all__ = ["ConnectRecipe", "CurveRecipe", "connect", "load_curve"]
