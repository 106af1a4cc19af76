"""The one loop: what it calls and when, resume to the same bits, and divergence."""

import math

import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.networks.loop import CHECK_EVERY, Resume, fit
from landscape.optimizers.registry import make_optimizer
from landscape.optimizers.schedules import cosine


class Killed(BaseException):
    """Ends a run as a signal would: nothing gets a chance to tidy up."""


class Problem:
    """Noisy gradient descent on ½‖x‖², the noise a function of the step."""

    def __init__(self, optimizer="sgd", kill_at=None, diverge_at=None, **hyperparameters):
        self.x = nn.ParameterList([nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))])
        self.optimizer = make_optimizer(optimizer, self.x, **{"lr": 0.1, **hyperparameters})
        self.kill_at, self.diverge_at = kill_at, diverge_at
        self.calls, self.rates = [], []

    def step(self, index):
        if index == self.kill_at:
            raise Killed
        self.calls.append(index)
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        noise = torch.randn(2, generator=torch.Generator().manual_seed(index), dtype=torch.float64)
        self.x[0].grad = self.x[0].detach() + 0.1 * noise
        self.optimizer.step()
        if self.diverge_at is not None and index >= self.diverge_at:
            self.x[0].data.fill_(math.nan)
        return self.x[0].detach().square().sum()

    def fit(self, num_steps=50, **settings):
        settings.setdefault("recorder", lambda done: {"norm": float(self.x[0].detach().norm())})
        return fit(self.step, num_steps, self.optimizer, {"x": self.x}, **settings)


def without_time(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history.rows]


def test_steps_and_records():
    problem = Problem()
    history = problem.fit(25, record_every=10)
    assert problem.calls == list(range(25))
    assert [row["step"] for row in history.rows] == [0, 10, 20, 25]
    assert history.rows[-1]["norm"] == float(problem.x[0].detach().norm())
    assert history.diverged_at is None
    seconds = [row["seconds"] for row in history.rows]
    assert seconds == sorted(seconds)


def test_records_at_chosen_steps():
    history = Problem().fit(25, record_at={0, 1, 7})
    assert [row["step"] for row in history.rows] == [0, 1, 7, 25]


def test_a_run_ends_when_it_is_enough():
    problem = Problem()
    asked = []

    def enough(history):
        asked.append(history.rows[-1]["step"])
        return asked[-1] >= 20

    history = problem.fit(50, record_every=10, enough=enough)
    assert asked == [10, 20]
    assert problem.calls == list(range(20))
    assert [row["step"] for row in history.rows] == [0, 10, 20]
    assert history.diverged_at is None


def test_records_of_the_end_only():
    assert [row["step"] for row in Problem().fit(25).rows] == [25]
    assert [row["step"] for row in Problem().fit(20, record_every=10).rows] == [0, 10, 20]
    assert Problem().fit(5, recorder=None).rows == []


def test_schedule_sets_the_learning_rate():
    problem = Problem()
    problem.fit(8, schedule=cosine)
    assert problem.rates == pytest.approx([0.05 * (1 + math.cos(math.pi * k / 8)) for k in range(8)])


def test_reports():
    told = []
    Problem().fit(45, report=lambda done, loss: told.append((done, loss)), record_every=30)
    assert [done for done, _ in told] == [20 / 45, 30 / 45, 40 / 45, 1]
    assert all(math.isfinite(loss) for _, loss in told)


@pytest.mark.parametrize(
    "hyperparameters", [{"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adamw"}, {"optimizer": "adam"}]
)
@pytest.mark.parametrize("kills", [[17], [3, 4, 40], [49]])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, hyperparameters, kills):
    reference = Problem(**hyperparameters)
    expected = reference.fit(schedule=cosine, record_every=10)
    resume = Resume(tmp_path / "state", "signature", every_seconds=0)
    for kill_at in kills:
        killed = Problem(**hyperparameters, kill_at=kill_at)
        with pytest.raises(Killed):
            killed.fit(schedule=cosine, record_every=10, resume=resume)
    last = Problem(**hyperparameters)
    history = last.fit(schedule=cosine, record_every=10, resume=resume)
    assert last.calls == list(range(kills[-1], 50))
    assert torch.equal(last.x[0], reference.x[0])
    assert last.rates == reference.rates[kills[-1] :]
    assert without_time(history) == without_time(expected)
    seconds = [row["seconds"] for row in history.rows]
    assert seconds == sorted(seconds)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_run_killed_after_its_last_step_is_complete(tmp_path):
    resume = Resume(tmp_path / "state", "signature", every_seconds=0)
    first, again = Problem(), Problem()
    expected = first.fit(resume=resume)
    assert without_time(again.fit(resume=resume)) == without_time(expected)
    assert again.calls == []
    assert torch.equal(again.x[0], first.x[0])


def test_state_is_saved_now_and_then_only(tmp_path):
    Problem().fit(resume=Resume(tmp_path / "state", "signature", every_seconds=1000))
    assert not list(tmp_path.iterdir())


def test_state_of_other_settings_is_refused(tmp_path):
    path = tmp_path / "state"
    Problem().fit(resume=Resume(path, "one", every_seconds=0))
    before = path.read_bytes()
    other = Problem()
    with pytest.raises(RequestError, match=r"unfinished run with other settings: repeat .* --overwrite"):
        other.fit(resume=Resume(path, "two"))
    assert other.calls == []
    with pytest.raises(RequestError, match="unfinished run with other settings"):
        Resume(path, "two").claim(overwrite=False)
    assert path.read_bytes() == before
    Resume(path, "one").claim(overwrite=False)
    assert path.exists()
    Resume(path, "two").claim(overwrite=True)
    assert not path.exists()
    Resume(path, "two").claim(overwrite=False)  # nothing there


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x80\x02}."])
def test_damaged_state_is_refused(tmp_path, content):
    path = tmp_path / "state"
    path.write_bytes(content)
    with pytest.raises(RequestError, match="--overwrite"):
        Problem().fit(resume=Resume(path, "one"))
    Resume(path, "one").claim(overwrite=True)
    assert not path.exists()


def test_leftovers_of_a_killed_save_are_swept_up(tmp_path):
    resume = Resume(tmp_path / "state[1]", "one")
    (tmp_path / "state[1].123.new").touch()
    (tmp_path / "other.123.new").touch()
    resume.claim(overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["other.123.new"]


@pytest.mark.parametrize(("diverge_at", "found"), [(0, CHECK_EVERY), (19, 20), (20, 30), (33, 40), (49, 50)])
def test_a_diverged_run_ends_at_the_next_check(diverge_at, found):
    problem = Problem(diverge_at=diverge_at)
    history = problem.fit(record_every=30)
    assert history.diverged_at == found
    assert problem.calls == list(range(found))
    assert history.rows[-1]["step"] == found
    assert math.isnan(history.rows[-1]["norm"])


def test_divergence_does_not_depend_on_kills(tmp_path):
    expected = Problem(diverge_at=5).fit(record_every=30)
    resume = Resume(tmp_path / "state", "signature", every_seconds=0)
    with pytest.raises(Killed):
        Problem(diverge_at=5, kill_at=11).fit(record_every=30, resume=resume)
    history = Problem(diverge_at=5).fit(record_every=30, resume=resume)
    assert history.diverged_at == expected.diverged_at == 20
    assert [row["step"] for row in history.rows] == [row["step"] for row in expected.rows]
