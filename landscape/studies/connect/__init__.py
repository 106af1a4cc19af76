"""Mode connectivity: curves of low loss between networks, and the loss along them."""

from landscape.studies.connect.fitting import CurveRecipe
from landscape.studies.connect.study import ConnectRecipe, connect, load_curve

__all__ = ["ConnectRecipe", "CurveRecipe", "connect", "load_curve"]
