"""The structure of the project: who may import whom, what is packaged, stays light and is documented."""

import ast
import configparser
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "landscape": ROOT / "landscape",
    "landscape.cli": ROOT / "cli",
    "landscape.experiments": ROOT / "experiments",
}

# From the ground up. Imports point down only, and never sideways to another wing of the same floor. `landscape`
# is the front door, landscape/__init__.py, which names the rooms behind it: no room goes in again by it.
FLOORS = (
    {"landscape.errors"},
    {"landscape.factories", "landscape.settings"},
    {"landscape.linalg", "landscape.objective", "landscape.sweeps", "landscape.figures"},
    {"landscape.geometry", "landscape.measures", "landscape.optimizers", "landscape.testing"},
    {"landscape.networks"},
    {"landscape.studies"},
    {"landscape"},
    {"landscape.experiments"},
    {"landscape.cli"},
)
FLOOR = {wing: floor for floor, wings in enumerate(FLOORS) for wing in wings}
HEAVY = {"torch", "xarray", "zarr", "matplotlib", "scipy", "sklearn"}
HELP = """
import sys
from landscape.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code
"""
NAMED = re.compile(r"(landscape(?:\.\w+)+)(?::\w+)?")


def modules() -> dict[str, Path]:
    """Every module of the project by its import name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def wing(module: str) -> str:
    """The wing that a module stands in: the first two parts of its name, `landscape.networks`."""
    return ".".join(module.split(".")[:2])


def arrows(module: str, source: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and target of each import, wherever it stands, and of each string that names a function of ours."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")
            base = base[: len(base) - node.level + is_package] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            if (
                origin == "landscape"
            ):  # `from landscape import errors` reaches a room, `… import connect` the front door
                for alias in node.names:
                    room = f"landscape.{alias.name}"
                    yield node.lineno, room if room in MODULES else origin
            else:
                yield node.lineno, origin
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and NAMED.fullmatch(node.value):
            yield node.lineno, NAMED.fullmatch(node.value)[1]


def misdirected(module: str, source: str, is_package: bool = False) -> list[str]:
    """The imports of one module that point up or sideways, readably."""
    here = wing(module)
    return [
        f"{module}:{line} imports {target}"
        for line, target in arrows(module, source, is_package)
        if target.split(".")[0] == "landscape" and wing(target) != here and FLOOR.get(wing(target), 99) >= FLOOR[here]
    ]


def importers(of: set[str], within: tuple[str, ...]) -> list[str]:
    """Modules of some wings that import any of some packages, readably."""
    return [
        f"{module}:{line} imports {target}"
        for module, path in MODULES.items()
        if wing(module) in within
        for line, target in arrows(module, path.read_text("utf-8"), path.name == "__init__.py")
        if target.split(".")[0] in of or wing(target) in of
    ]


def loaded(code: str, *arguments: str) -> set[str]:
    """Run code in a fresh interpreter outside the source tree; the top-level packages that it loaded."""
    tail = "\nimport json, sys\nprint('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    command = [sys.executable, "-c", code + tail, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_every_wing_has_a_floor():
    assert {wing(module) for module in MODULES} <= set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    path = MODULES[module]
    assert misdirected(module, path.read_text("utf-8"), path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source", "count"),
    [
        ("landscape.sweeps.store", "from landscape.errors import RequestError", 0),
        ("landscape.sweeps.store", "from .recipe import canonical", 0),
        ("landscape.sweeps.store", "from landscape.objective import losses", 1),  # sideways
        (
            "landscape.sweeps.store",
            "def f():\n    import landscape.studies.connect",
            1,
        ),  # up, inside a function
        (
            "landscape.sweeps.store",
            "if TYPE_CHECKING:\n    from ..networks import models",
            1,
        ),  # up, for types only
        ("landscape.sweeps", "from .. import networks", 1),
        ("landscape.sweeps.store", "FUNCTION = 'landscape.studies.connect:factory'", 1),  # up, by name
        ("landscape.networks.models", "from landscape import connect", 1),  # in again by the front door
        ("landscape.networks.models", "from landscape import errors", 0),
        ("landscape.experiments.connect", "from landscape.cli import main", 1),
        ("landscape.cli.figure", "from landscape.experiments import connect", 0),
    ],
)
def test_a_wrong_arrow_is_seen(module, source, count):
    assert len(misdirected(module, source, is_package=module == "landscape.sweeps")) == count


def test_sweeps_and_figures_never_import_torch():
    assert importers({"torch", "torchvision"}, within=("landscape.sweeps", "landscape.figures")) == []


def test_sweeps_and_figures_load_no_torch():
    names = [name for name in MODULES if wing(name) in {"landscape.sweeps", "landscape.figures"}]
    assert names
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)"
    assert "torch" not in loaded(code, *names)


def test_problems_with_known_answers_serve_tests_and_experiments_only():
    library = tuple(set(FLOOR) - {"landscape.experiments", "landscape.testing"})
    assert importers({"landscape.testing"}, within=library) == []


def test_packages_are_the_folders():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    packages = config["options"]["packages"].split()
    folders = {name.rpartition(".")[0] if path.name != "__init__.py" else name for name, path in MODULES.items()}
    assert sorted(packages) == sorted(folders)
    for package in folders:
        assert package in MODULES, f"{package} has no __init__.py"


def test_landscape_is_the_only_top_level_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    assert {package.split(".")[0] for package in config["options"]["packages"].split()} == {"landscape"}
    assert not (ROOT / "landscape" / "__main__.py").exists()


def test_import_is_light():
    code = "import landscape\ndir(landscape)\nassert landscape.__version__"
    assert loaded(code) & HEAVY == set()


def test_help_is_light():
    assert loaded(HELP, "--help") & HEAVY == set()


def test_public_names_are_found():
    import landscape

    for name in landscape.__all__:
        assert getattr(landscape, name).__name__ == name
        assert name in dir(landscape)
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", landscape.__version__)


def test_public_names_are_declared_three_times_alike():
    """The lazy table, `__all__` and what type checkers read must not drift apart."""
    import landscape

    tree = ast.parse(MODULES["landscape"].read_text("utf-8"))
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    homes = {alias.name: node.module for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert homes == landscape._HOMES
    assert sorted(homes) == sorted(landscape.__all__)


def test_a_wrong_public_name_is_refused():
    import landscape

    with pytest.raises(AttributeError, match=r"no attribute 'conect'.*connect"):
        _ = landscape.conect


def commands() -> list[str]:
    """The names of the commands."""
    return list(importlib.import_module("landscape.cli.main").COMMANDS)


@pytest.mark.parametrize("name", commands())
def test_command_is_written_and_documented(name):
    """Each command has its file, says what it and each of its options do, and stands in the documentation."""
    command = getattr(importlib.import_module(f"landscape.cli.{name}"), name)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help
    assert importlib.import_module(f"landscape.cli.{name}").__doc__
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"landscape {name} {parameter.opts[0]} has no help"
    pages = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.exists()]
    assert any(f"landscape {name}" in page.read_text("utf-8") for page in pages)


@pytest.mark.parametrize("name", commands())
def test_command_help_is_light(name):
    """`landscape COMMAND --help` answers at once: torch takes longer than a second to import."""
    assert "torch" not in loaded(HELP, name, "--help")


def test_files_are_short():
    """One purpose per file, some 300 lines at most."""
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > 300} == {}
