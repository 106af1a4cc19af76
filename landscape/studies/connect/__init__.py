"""Mode connectivity: curves of low loss between networks, and the loss along them."""

from landscape.studies.connect.fitting import CurveRecipe
from landscape.studies.connect.recipe import ConnectRecipe
from landscape.studies.connect.study import connect
from landscape.studies.curves import load_curve

__all__ = ["ConnectRecipe", "CurveRecipe", "connect", "load_curve"]
