"""Grokking: networks that generalise long after they have memorised, stored along the way."""

from landscape.studies.grok.recipe import GrokRecipe
from landscape.studies.grok.study import grok

__all__ = ["GrokRecipe", "grok"]
