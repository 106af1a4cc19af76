"""A store on the way can be read and drawn, wherever its run was interrupted."""

import pytest
import torch

from landscape import figures
from landscape.studies import study
from landscape.studies.connect import ConnectRecipe, CurveRecipe, connect
from landscape.sweeps import store


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(24, 3, generator=generator)
    targets = (inputs[:, 0] > 0).long()
    networks = []
    for _ in range(3):
        network = torch.nn.Linear(3, 2)
        with torch.no_grad():
            for tensor in network.parameters():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
        networks.append(network)
    return networks, (inputs, targets)


@pytest.mark.parametrize("stage", [0, 1])
def test_interrupted_study_is_drawn_and_resumed(problem, stage, tmp_path, monkeypatch):
    networks, data = problem
    recipe = ConnectRecipe(("bezier",), CurveRecipe(epochs=1), points=5, plane=4)
    calls, run = [], study.run

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) > stage:
            raise KeyboardInterrupt
        run(*args, **options)

    monkeypatch.setattr(study, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        connect(networks, tmp_path / "c.zarr", recipe, data=data, progress=False)
    tree = store.open(tmp_path / "c.zarr")
    found = figures.summary(tree)
    assert not found["complete"]
    assert "0/5" in figures.report(found, "c.zarr")
    figures.draw(tree).savefig(tmp_path / "c.png")

    monkeypatch.setattr(study, "run", run)
    resumed = connect(networks, tmp_path / "c.zarr", recipe, data=data, progress=False)
    straight = connect(networks, tmp_path / "d.zarr", recipe, data=data, progress=False)
    for node in ("connect", "connect/fit/bezier", "connect/plane/bezier", "connect/plane/optima"):
        assert resumed[node].to_dataset().equals(straight[node].to_dataset())
