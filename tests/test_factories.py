import sys
import textwrap

import pytest

from landscape.errors import RequestError
from landscape.factories import call_factory, is_factory, load_factory

MODULE = """
    import math

    def double(x=1):
        return 2 * x

    def needs(x):
        return x

    def fails():
        raise ZeroDivisionError("on purpose")

    class Box:
        @staticmethod
        def open():
            return "opened"

    number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a module of the user's, forgotten again afterwards."""
    (tmp_path / "users_module.py").write_text(textwrap.dedent(MODULE), "utf-8")
    (tmp_path / "users_broken.py").write_text("import not_a_package_anywhere\n", "utf-8")
    (tmp_path / "users_syntax.py").write_text("def f(:\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("users_module", "users_broken", "users_syntax"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a:b", True), ("a.b:c.d", True), ("a", False), ("a:", False), (":b", False), ("a b:c", False), ("timm:x", True)],
)
def test_the_form_of_a_factory(name, expected):
    assert is_factory(name) is expected


def test_modules_of_the_working_folder_are_found(folder):
    assert load_factory("model", "users_module:number") == 3
    assert load_factory("model", "users_module:Box.open")() == "opened"
    assert load_factory("model", "os.path:join") is __import__("os").path.join


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("users_module", "not of the form"),
        ("users_modul:double", "no module named 'users_modul'"),
        ("users_module.sub:double", "users_module"),
        ("users_module:doubel", "did you mean 'double'"),
        ("users_broken:f", "needs 'not_a_package_anywhere'"),
        ("users_syntax:f", "SyntaxError"),
    ],
)
def test_what_cannot_be_imported_is_one_line(folder, spec, message):
    with pytest.raises(RequestError, match=message) as caught:
        load_factory("model", spec)
    assert str(caught.value).startswith("model '")
    assert len(str(caught.value).splitlines()) == 1


def test_factories_are_called_with_keywords(folder):
    assert call_factory("model", "users_module:double") == 2
    assert call_factory("model", "users_module:double", {"x": 4}) == 8


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        ("users_module:number", {}, "a value of type int"),
        ("users_module:needs", {}, "missing a required argument: 'x'"),
        ("users_module:double", {"y": 1}, "unexpected keyword argument 'y'"),
        ("users_module:fails", {}, "raised ZeroDivisionError: on purpose"),
    ],
)
def test_factories_that_cannot_be_called_are_one_line(folder, spec, settings, message):
    with pytest.raises(RequestError, match=message):
        call_factory("data set", spec, settings)
