"""A kill at any moment, then the same again, ends with the same store."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray

from landscape.sweeps import store
from landscape.sweeps.engine import ENGINES
from landscape.sweeps.node import scratch_folder

SCRIPT = Path(__file__).parent / "pass_over_grid.py"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def begin(*args, **options):
    command = [sys.executable, str(SCRIPT), *map(str, args)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ONE_THREAD, **options)


def nobody_is_left(group, seconds=5.0):
    """Whether all processes of a group have ended (one that nobody waited for has, too)."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        left = []
        for file in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, its_group = file.read_text().rsplit(")", 1)[1].split()[:3]
                left += [file] if state != "Z" and int(its_group) == group else []
        if not left:
            return True
        time.sleep(0.05)
    return False


def tasks_done(path):
    """The number of blocks with a status."""
    return len(list(path.rglob("status/c/*/*")))


def whole(path):
    """The store, with nothing left of its making; when and where it was made aside."""
    assert not scratch_folder(path).exists()
    assert not list(path.rglob("*.partial"))
    tree = xarray.open_datatree(path, engine="zarr").load()
    assert tree.attrs.pop("complete") == 1
    del tree.attrs["created"], tree.attrs["git_revision"]
    return tree


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "grid.zarr"
    with begin(path, "serial", 0) as process:
        assert process.communicate()[1] == ""
    return whole(path)


def test_a_kill_at_every_change_of_the_file_system(tmp_path):
    with begin(tmp_path, "crash", stdout=subprocess.PIPE) as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    stores = [Path(line) for line in out.splitlines()]
    assert len(stores) > 40  # the number of changes
    first = whole(stores[0])
    assert first["grid"].top.values.tolist() == [3, 5]
    assert (first["grid/inner"].status == 1).all()
    for path in stores[1:]:
        xarray.testing.assert_identical(first, whole(path))


@pytest.mark.parametrize("engine", ENGINES)
def test_kills_at_random_moments(tmp_path, engine, uninterrupted):
    path, moments, kills = tmp_path / "grid.zarr", random.Random(0), 0
    while True:
        before = tasks_done(path)
        with begin(path, engine, 0.05) as process:
            while tasks_done(path) <= before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(moments.uniform(0.0, 0.2))
            process.kill()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert kills > 1
    xarray.testing.assert_identical(whole(path), uninterrupted)


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_is_quick_quiet_and_resumable(tmp_path, engine, uninterrupted):
    """Ctrl-C goes to all processes in the terminal's foreground group."""
    path = tmp_path / "grid.zarr"
    with begin(path, engine, 0.4, start_new_session=True) as process:
        until = time.monotonic() + 20
        while not tasks_done(path) and time.monotonic() < until:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        start = time.monotonic()
        err = process.communicate(timeout=20)[1]
    assert time.monotonic() - start < 5
    assert process.returncode == -signal.SIGINT
    assert err.count("Traceback") == err.count("KeyboardInterrupt") == 1
    assert nobody_is_left(process.pid)
    assert store.open(path).attrs["complete"] == 0
    with begin(path, engine, 0) as process:
        assert process.communicate()[1] == ""
    xarray.testing.assert_identical(whole(path), uninterrupted)


def test_ctrl_c_while_workers_are_being_born(tmp_path):
    for delay in (0.0, 0.05, 0.1, 0.15):
        path = tmp_path / f"{delay}.zarr"
        with begin(path, "processes", 5, start_new_session=True) as process:
            until = time.monotonic() + 20
            while not (scratch_folder(path) / "sweeps.pickle").exists() and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(delay)
            os.killpg(process.pid, signal.SIGINT)
            err = process.communicate(timeout=20)[1]
        assert process.returncode == -signal.SIGINT
        assert err.count("Traceback") == 1
        assert nobody_is_left(process.pid)
