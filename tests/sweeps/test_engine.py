"""Engines: where tasks run, and that no process outlives its caller."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from landscape.errors import RequestError
from landscape.sweeps.engine import ENGINES, default_workers, make_executor

HERE = str(Path(__file__).parent)


def alive(pid):
    """Whether a process runs; one that has ended but wasn't waited for doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ends(pid, seconds=5.0):
    until = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def test_default_workers():
    assert 1 <= default_workers() <= os.cpu_count()


def test_wrong_requests():
    with pytest.raises(RequestError, match="did you mean 'processes'"):
        make_executor("process", 1, print)
    for name in ENGINES:
        with pytest.raises(RequestError, match="at least 1"):
            make_executor(name, 0, print)


@pytest.mark.parametrize("name", ENGINES)
def test_results_and_exceptions_arrive(name):
    with make_executor(name, 2, int) as executor:
        assert [executor.submit(pow, 2, n).result() for n in range(3)] == [1, 2, 4]
        with pytest.raises(ValueError, match="invalid literal"):
            executor.submit(int, "x").result()


def test_a_worker_has_one_thread_and_loads_nothing_heavy(swept):
    before = dict(os.environ)
    with make_executor("processes", 1, int) as executor:
        threads, torch, zarr, pid = executor.submit(swept.threads).result()
    assert (threads, torch, zarr) == ("1", False, False)
    assert dict(os.environ) == before
    assert ends(pid)


def test_shutdown_ends_running_tasks(swept):
    executor = make_executor("processes", 2, int)
    pid = executor.submit(swept.threads).result()[-1]
    futures = [executor.submit(swept.sleep, 60) for _ in range(4)]
    start = time.monotonic()
    executor.shutdown(cancel_futures=True)
    assert time.monotonic() - start < 5
    assert not alive(pid)
    assert all(future.cancelled() or isinstance(future.exception(), BrokenExecutor) for future in futures)


SCRIPT = f"""
import sys; sys.path.insert(0, {HERE!r})
import swept
from landscape.sweeps.engine import make_executor
executor = make_executor("processes", 1, int)
print(executor.submit(swept.threads).result()[-1], flush=True)
executor.submit(swept.sleep, 60).result()
"""


def test_no_worker_outlives_a_killed_caller(tmp_path):
    """The script has no `if __name__ == "__main__"`: it isn't run again in the worker."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as caller:
        pid = int(caller.stdout.readline())
        assert alive(pid)
        caller.send_signal(signal.SIGKILL)
        assert ends(pid)
