"""Where to look: lines, planes and curves as maps from a few coordinates to parameters."""
