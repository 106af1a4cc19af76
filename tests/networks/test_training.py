"""Training: the same bits whatever happens in between, and nothing of the caller's changed."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.networks.loop import Resume
from landscape.networks.sampling import Shuffle, mix
from landscape.networks.splits import DataSet, Split
from landscape.networks.training import TrainingRecipe, train
from landscape.optimizers.schedules import piecewise


class Killed(BaseException):
    """Ends a run as a signal would."""


def images(num=33, test=10, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)

    def split(n):
        targets = torch.randint(3, (n,), generator=generator)
        noise = torch.randn(n, 1, 6, 6, generator=generator, dtype=dtype)
        return Split(noise + targets[:, None, None, None] - 1, targets)

    return DataSet("images", split(num), split(test) if test else None, 3, "made here")


def convnet(seed=0, dropout=0.3):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(64, 8),
        nn.BatchNorm1d(8),
        nn.Linear(8, 3),
    )


def recipe(**settings):
    defaults = {"hyperparameters": {"lr": 0.05, "momentum": 0.9}, "epochs": 4, "batch_size": 8, "schedule": "cosine"}
    if settings.get("optimizer", "sgd") != "sgd":
        defaults["hyperparameters"] = {"lr": 0.01}
    if "steps" in settings:
        defaults["epochs"] = None
    return TrainingRecipe(**{**defaults, "augmentation": "crop-flip", **settings})


def assert_same(model, other):
    state, expected = model.state_dict(), other.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_training_equals_a_loop_by_hand():
    data, start = images(test=0), convnet(dropout=0.0)
    settings = recipe(
        augmentation="none", schedule="piecewise", warmup=3, hyperparameters={"lr": 0.05, "weight_decay": 0.01}
    )
    trained = train(start, data, settings)
    model = convnet(dropout=0.0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, weight_decay=0.01)
    batches = Shuffle(33, 8, mix(0, 1))
    assert batches.steps_per_epoch == 4  # the last of 33 samples joins the fourth batch
    for index in range(16):
        chosen = batches.indices(index)
        optimizer.param_groups[0]["lr"] = 0.05 * piecewise(index / 16) * min(1, (index + 1) / 3)
        optimizer.zero_grad()
        F.cross_entropy(model(data.train.inputs[chosen]), data.train.targets[chosen]).backward()
        optimizer.step()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(trained.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_history_is_that_of_the_whole_splits_in_evaluation_mode():
    data, epochs = images(), {}

    def keep(epoch, model):
        epochs[epoch] = {name: value.clone() for name, value in model.state_dict().items()}

    trained = train(convnet(), data, recipe(), on_epoch=keep)
    assert trained.samples == {"train": 33, "test": 10}
    assert not trained.model.training
    assert list(epochs) == [1, 2, 3, 4]
    assert [row["step"] for row in trained.history.rows] == [0, 4, 8, 12, 16]
    for row, state in zip(trained.history.rows[1:], epochs.values(), strict=True):
        model = convnet().eval()
        model.load_state_dict(state)
        for name, split in data.splits.items():
            outputs = model(split.inputs)
            assert row[f"loss.{name}"] == pytest.approx(F.cross_entropy(outputs, split.targets).item(), rel=1e-5)
            assert row[f"error.{name}"] == pytest.approx((outputs.argmax(1) != split.targets).float().mean().item())
    last = 0.05 * (1 + math.cos(math.pi * 15 / 16)) / 2
    assert trained.history.rows[-1]["learning_rate"] == pytest.approx(last)
    assert trained.history.rows[-1]["loss.train"] < trained.history.rows[0]["loss.train"]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, optimizer, kill_at):
    settings, data = recipe(optimizer=optimizer), images()
    expected = train(convnet(), data, settings)
    resume = Resume(tmp_path / "state", "signature", every_seconds=0)

    def kill(epoch, model):
        if epoch == kill_at:
            raise Killed

    with pytest.raises(Killed):
        train(convnet(), data, settings, resume=resume, on_epoch=kill)
    torch.manual_seed(99)  # whatever the new process begins with
    epochs = []
    again = train(convnet(5), data, settings, resume=resume, on_epoch=lambda epoch, model: epochs.append(epoch))
    assert epochs == list(range(kill_at, 5))  # killed inside of that epoch's last step, which is done again
    assert_same(again.model, expected.model)
    for row, other in zip(again.history.rows, expected.history.rows, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}


def test_a_state_of_other_settings_is_refused(tmp_path):
    train(convnet(), images(), recipe(epochs=1), resume=Resume(tmp_path / "state", "one", every_seconds=0))
    with pytest.raises(RequestError, match="unfinished run with other settings"):
        train(convnet(), images(), recipe(epochs=2), resume=Resume(tmp_path / "state", "two"))


def test_a_run_is_a_function_of_its_recipe():
    first, again = (train(convnet(), images(), recipe(epochs=1)).model for _ in range(2))
    assert_same(first, again)
    for other in (recipe(epochs=1, seed=1), recipe(epochs=1, augmentation="none"), recipe(epochs=1, batch_size=9)):
        model = train(convnet(), images(), other).model
        assert not torch.equal(model[0].weight, first[0].weight)


def test_evaluating_changes_nothing():
    often = train(convnet(), images(), recipe(epochs=2)).model
    assert_same(train(convnet(), images(), recipe(epochs=2), evaluate_every=0).model, often)


def test_nothing_of_the_callers_changes():
    data, model = images(), convnet()
    model[1].eval()
    model[7].bias.requires_grad_(False)
    model(data.train.inputs).sum().backward()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradient, digest = model[0].weight.grad.clone(), data.digest
    rng = torch.get_rng_state()
    trained = train(model, data, recipe(epochs=2)).model
    assert torch.equal(torch.get_rng_state(), rng)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert torch.equal(model[0].weight.grad, gradient)
    assert model.training
    assert not model[1].training
    assert images().digest == data.digest == digest
    assert torch.equal(trained[7].bias, model[7].bias)  # frozen
    assert not torch.equal(trained[7].weight, model[7].weight)


def test_steps_instead_of_epochs():
    trained = train(convnet(), images(), recipe(steps=6))
    assert [row["step"] for row in trained.history.rows] == [0, 4, 6]
    assert [row["step"] for row in train(convnet(), images(), recipe(steps=6), evaluate_every=0).history.rows] == [6]


def test_diverged_runs_end_deterministically():
    settings = recipe(hyperparameters={"lr": 1e20}, epochs=20)

    def loss(outputs, targets):
        return outputs.square().sum(1)

    first, again = (
        train(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), images(), settings, loss=loss) for _ in range(2)
    )
    assert first.history.diverged_at == again.history.diverged_at
    assert first.history.diverged_at in (4, 8, 12, 16, 20)
    assert first.history.rows[-1]["step"] == first.history.diverged_at


def test_double_precision():
    trained = train(convnet(), images(), recipe(precision="float64", epochs=2))
    assert all(tensor.dtype == torch.float64 for tensor in trained.model.parameters())
    single = train(convnet(), images(), recipe(epochs=2))
    for a, b in zip(trained.model.parameters(), single.model.parameters(), strict=True):
        torch.testing.assert_close(a.float(), b, rtol=1e-2, atol=1e-3)
    assert trained.history.rows[-1]["loss.test"] == pytest.approx(single.history.rows[-1]["loss.test"], rel=1e-3)


def test_mixed_precision_on_the_cpu():
    seen = []

    class Watched(nn.Linear):
        def forward(self, x):
            outputs = super().forward(x)
            seen.append((self.training, outputs.dtype))
            return outputs

    def loss(outputs, targets):
        values = F.cross_entropy(outputs, targets, reduction="none")
        seen.append(("loss", values.dtype))
        return values

    model = nn.Sequential(nn.Flatten(), Watched(36, 3))
    trained = train(model, images(), recipe(precision="bf16", epochs=6, augmentation="none"), loss=loss)
    assert {(True, torch.bfloat16), (False, torch.float32), ("loss", torch.float32)} == set(seen)
    assert all(tensor.dtype == torch.float32 for tensor in trained.model.parameters())
    assert trained.history.rows[-1]["loss.train"] < 0.7 * trained.history.rows[0]["loss.train"]


def test_regression_and_own_losses():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 3, generator=generator)
    data = DataSet("line", Split(inputs, inputs @ torch.tensor([[1.0], [-2.0], [0.5]])), None, None, "made here")
    settings = recipe(augmentation="none", epochs=40)
    trained = train(nn.Linear(3, 1), data, settings, loss="mse")
    assert set(trained.history.rows[0]) == {"step", "seconds", "learning_rate", "loss.train"}
    assert trained.history.rows[-1]["loss.train"] < 1e-4
    own = train(nn.Linear(3, 1), data, settings, loss=lambda o, t: (o - t).square().mean(1))
    assert own.history.rows[-1]["loss.train"] < 1e-4


def test_progress_is_told():
    told = []
    train(convnet(), images(), recipe(), report=lambda done, **values: told.append((done, values)))
    assert told[-1][0] == 1
    assert told[-1][1]["samples"] == 4 * 33
    assert {"loss", "error train", "error test"} <= told[-1][1].keys()


BAD = {
    "epochs": ({"epochs": 0}, "epochs must be at least 1, got 0"),
    "steps": ({"epochs": None, "steps": -3}, "steps must be at least 1, got -3"),
    "batch size": ({"batch_size": 0}, "batch size must be at least 1, got 0"),
    "both": ({"epochs": 3, "steps": 3}, "by epochs or by steps, not both"),
    "neither": ({"epochs": None}, "by epochs or by steps, not both"),
    "seed": ({"seed": -1}, "seed must be at least 0, got -1"),
    "precision": ({"precision": "fp32"}, "unknown precision 'fp32': did you mean"),
    "schedule": ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'"),
    "warmup": ({"warmup": -1}, "warmup must be at least 0 updates, got -1"),
    "augmentation": ({"augmentation": "crops"}, "unknown augmentation 'crops': did you mean 'crop'"),
    "optimizer": ({"optimizer": "sdg"}, "unknown optimizer 'sdg': did you mean 'sgd'"),
    "hyperparameter": ({"hyperparameters": {"rate": 1}}, "unknown setting of optimizer 'sgd' 'rate'"),
    "learning rate": ({"hyperparameters": {"lr": -1}}, "setting 'lr' must be more than 0, got -1"),
}


@pytest.mark.parametrize("name", BAD)
def test_recipes_that_mean_nothing(name):
    settings, message = BAD[name]
    with pytest.raises(RequestError, match=message):
        TrainingRecipe(**settings)


def test_recipes_are_complete():
    described = TrainingRecipe(hyperparameters={"lr": "0.2"}).recipe()
    assert described["hyperparameters"] == {"lr": 0.2, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    assert TrainingRecipe(**described).recipe() == described


def test_requests_that_do_not_fit():
    flat = nn.Linear(36, 3)
    with pytest.raises(RequestError, match="the model can't take the data"):
        train(flat, images(), recipe())
    with pytest.raises(RequestError, match="the loss returned shape"):
        train(convnet(), images(), recipe(), loss=F.cross_entropy)
    with pytest.raises(RequestError, match="unknown loss 'mean'"):
        train(convnet(), images(), recipe(), loss="mean")
    with pytest.raises(RequestError, match="evaluate_every must be at least 0"):
        train(convnet(), images(), recipe(), evaluate_every=-1)
    with pytest.raises(RequestError, match="precision fp16 needs CUDA"):
        train(convnet(), images(), recipe(precision="fp16"))
    table = DataSet("table", Split(torch.zeros(9, 36), torch.zeros(9, dtype=torch.long)), None, 3, "made here")
    with pytest.raises(RequestError, match="augmentation 'crop-flip' needs images"):
        train(flat, table, recipe())


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_gpu_training(precision, tmp_path):
    settings = recipe(precision=precision, epochs=6, optimizer="adamw")
    states = torch.cuda.get_rng_state_all()
    resume = Resume(tmp_path / "state", "signature", every_seconds=0)
    trained = train(convnet(), images(), settings, device="cuda", resume=resume)
    assert all(torch.equal(a, b) for a, b in zip(states, torch.cuda.get_rng_state_all(), strict=True))
    assert next(trained.model.parameters()).is_cuda
    assert trained.history.rows[-1]["loss.train"] < trained.history.rows[0]["loss.train"]
    again = train(convnet(), images(), settings, device="cuda", resume=resume)
    assert_same(again.model, trained.model)


@pytest.mark.gpu
def test_gpu_training_follows_the_cpu():
    settings = recipe(precision="float64", augmentation="none")
    on_gpu, on_cpu = (train(convnet(dropout=0.0), images(), settings, device=d).model for d in ("cuda", "cpu"))
    for a, b in zip(on_gpu.parameters(), on_cpu.parameters(), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-6, atol=1e-8)
