"""The house style: type, looks in grey, saving whole or not at all, nothing global."""

import itertools
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from landscape.errors import RequestError
from landscape.figures import style


def small_figure():
    with style.styled():
        figure = style.new_figure(2, 1)
        figure.subplots().plot([0, 1], [0, 1], label="a")
    return figure


def test_curves_differ_in_grey_and_in_marker():
    looks = list(style.LOOKS.values())
    for a, b in itertools.combinations(looks, 2):
        greys = [np.dot(to_rgb(item.color), (0.299, 0.587, 0.114)) for item in (a, b)]
        assert abs(greys[0] - greys[1]) >= 0.25
        assert a.marker != b.marker


def test_unknown_curves_have_looks_of_their_own():
    looks = [style.look(f"spline{i}", i) for i in range(3)]
    assert len({item.color for item in looks}) == len({item.marker for item in looks}) == 3
    assert looks[0].label == "spline0"


def test_pdf_is_vector_with_truetype_fonts(tmp_path):
    path = style.save(small_figure(), tmp_path / "a.pdf")
    content = path.read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert b"/Subtype /Image" not in content


def test_the_users_own_savefig_embeds_truetype_too(tmp_path):
    small_figure().savefig(tmp_path / "a.pdf")
    assert b"/Type3" not in (tmp_path / "a.pdf").read_bytes()


def test_saved_size_is_the_size_asked_for(tmp_path):
    content = style.save(small_figure(), tmp_path / "a.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", content)
    assert box is not None
    assert [float(side) for side in box.groups()] == [144, 72]


@pytest.mark.parametrize("suffix", style.SUFFIXES)
def test_the_same_figure_gives_the_same_file(tmp_path, suffix):
    first = style.save(small_figure(), tmp_path / f"a{suffix}").read_bytes()
    assert first == style.save(small_figure(), tmp_path / f"b{suffix}").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_wrong_targets_are_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(RequestError, match=r"'a\.jpeg'.*\.pdf, \.png, \.svg"):
        style.save(small_figure(), tmp_path / "a.jpeg")
    with pytest.raises(RequestError, match=r"folder .*missing' doesn't exist"):
        style.save(small_figure(), tmp_path / "missing" / "a.pdf")
    (tmp_path / "there.pdf").write_text("mine")
    with pytest.raises(RequestError, match="--overwrite"):
        style.save(small_figure(), tmp_path / "there.pdf")
    (tmp_path / "folder.pdf").mkdir()
    with pytest.raises(RequestError, match="is a folder"):
        style.save(small_figure(), tmp_path / "folder.pdf", overwrite=True)
    assert (tmp_path / "there.pdf").read_text() == "mine"
    style.save(small_figure(), tmp_path / "there.pdf", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.pdf", "there.pdf"]


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = style.save(small_figure(), tmp_path / "a.png")
    before = path.read_bytes()
    broken = small_figure()
    broken.draw = lambda renderer: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    with pytest.raises(RequestError, match="No space left"):
        style.save(broken, path, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_settings_of_the_caller_stay_and_do_not_matter(tmp_path):
    plain = style.save(small_figure(), tmp_path / "a.png").read_bytes()
    with mpl.rc_context({"font.size": 20, "pdf.fonttype": 3, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        assert style.save(small_figure(), tmp_path / "b.png").read_bytes() == plain
        assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.7, "1.7"),
        (0.0204, "0.020"),
        (-0.5, "−0.50"),
        (123.4, "123"),
        (1.7e6, "1.7·10⁶"),
        (9.99e4, "1.0·10⁵"),
        (2e-6, "2.0·10⁻⁶"),
        (np.nan, "–"),
        (np.inf, "∞"),
        (-np.inf, "−∞"),
    ],
)
def test_numbers_for_people(value, text):
    assert style.number(value) == text


def test_neither_torch_nor_pyplot_is_imported():
    code = "import sys, landscape.figures; print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
