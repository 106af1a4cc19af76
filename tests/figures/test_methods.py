"""Methods that share a figure can be told apart, in grey too."""

import itertools

from matplotlib.colors import to_rgb

from landscape.figures.methods import METHODS, method_look, shades


def grey(color):
    """Luminance of a colour."""
    red, green, blue = to_rgb(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_no_two_methods_look_the_same():
    looks = {(look.color, str(look.line)) for look in METHODS.values()}
    assert len(looks) == len(METHODS)
    assert method_look("unheard-of").label == "unheard-of"


def test_shades_fall_evenly_in_grey():
    for count in (2, 3, 5):
        values = [grey(color) for color in shades(count)]
        assert all(a - b > 0.08 for a, b in itertools.pairwise(values))
    assert len(shades(1)) == 1
