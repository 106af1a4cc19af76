import math
import sys
import types

import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.networks.models import MODELS, build_model, list_models, resolve_settings

# Settings that make each network small enough to run here.
SMALL = {
    "softmax": {},
    "mlp": {"hidden": (8,)},
    "convnet": {"width": 4},
    "resnet20": {"width": 4},
    "resnet32": {"width": 2},
    "resnet56": {"width": 2},
    "resnet110": {"width": 1},
    "resnet18k": {"width": 2},
    "preresnet110": {"width": 1},
    "preresnet164": {"width": 1},
    "vgg16": {"width": 4},
    "vgg16-bn": {"width": 4},
    "wrn28-10": {"widen": 1},
}

# Parameters for CIFAR-10 and CIFAR-100.
#   resnet: arXiv:1512.03385, table 6, in millions (0.27, 0.46, 0.85, 1.7); the exact numbers are those of the
#     option-A network by its definition, 3·w·9 + Σ (convolutions + 2 per BatchNorm channel) + classifier.
#   preresnet: arXiv:1603.05027, table 4 (1.7M both); the exact numbers agree with pytorchcv's zoo
#     (preresnet110_cifar10, preresnet164bn_cifar10).
#   resnet18k: arXiv:1912.02292 gives none; those of its definition at k = 64, the usual pre-activated ResNet18.
#   wrn28-10: arXiv:1605.07146, table 4 (36.5M); the exact numbers agree with pytorchcv's wrn28_10_cifar10.
#   vgg16: torchvision's vgg16 has 138,357,544 parameters, 123,642,856 of them in its classifier; ours are the
#     other 14,714,688 and 2·(512² + 512) + 513 per class. BatchNorm adds 2 per channel, 2·4,224.
PARAMETERS = {
    "softmax": (3073 * 10, 3073 * 100),
    "mlp": (3073 * 64 + 65 * 64 + 65 * 10, 3073 * 64 + 65 * 64 + 65 * 100),
    "convnet": (9 * (3 * 16 + 16 * 32 + 32 * 64) + 2 * 112 + 1025 * 10, 23_696 + 1025 * 100),
    "resnet20": (269_722, 275_572),
    "resnet32": (464_154, 470_004),
    "resnet56": (853_018, 858_868),
    "resnet110": (1_727_962, 1_733_812),
    "resnet18k": (11_171_146, 11_217_316),
    "preresnet110": (1_730_522, 1_736_372),
    "preresnet164": (1_703_258, 1_726_388),
    "vgg16": (138_357_544 - 123_642_856 + 2 * (512**2 + 512) + 513 * 10, 14_714_688 + 525_312 + 51_300),
    "vgg16-bn": (15_245_130 + 2 * 4_224, 15_291_300 + 2 * 4_224),
    "wrn28-10": (36_479_194, 36_536_884),
}
MILLIONS = {
    "resnet20": 0.27,
    "resnet32": 0.46,
    "resnet56": 0.85,
    "resnet110": 1.7,
    "preresnet110": 1.7,
    "preresnet164": 1.7,
    "wrn28-10": 36.5,
}


def count(name, num_outputs=10, settings=None):
    """Parameters of a network for CIFAR, without drawing them."""
    with torch.device("meta"):
        model = build_model(name, (3, 32, 32), num_outputs, settings)
    return sum(parameter.numel() for parameter in model.parameters())


# Networks that take tokens instead of images: tests/networks/zoo/test_gpt.py.
LANGUAGE = {"gpt-nano", "gpt2-124m", "modern-124m"}
SYMBOLS = {name for name, entry in MODELS.items() if entry.symbols}  # held to their contract in zoo/test_symbols.py


def test_every_model_is_tested():
    assert set(SMALL) == set(PARAMETERS) == set(MODELS) - LANGUAGE - SYMBOLS
    assert set(MODELS) == set(list_models())


@pytest.mark.parametrize("name", SMALL)
def test_parameter_counts(name):
    assert (count(name), count(name, 100)) == PARAMETERS[name]
    if name in MILLIONS:
        published = MILLIONS[name]
        digits = len(str(published).partition(".")[2])
        assert round(PARAMETERS[name][0] / 1e6, digits) == published


@pytest.mark.parametrize(("name", "expected"), [("resnet20", 272_474), ("resnet56", 855_770), ("resnet110", 1_730_714)])
def test_projection_shortcuts_have_more_parameters(name, expected):  # pytorchcv's resnet20_cifar10, …
    assert count(name, settings={"shortcut": "B"}) == expected


@pytest.mark.parametrize("name", ["resnet20", "resnet56", "resnet110"])
def test_without_skip_the_parameters_are_the_same(name):
    assert count(name, settings={"skip": False}) == PARAMETERS[name][0]


def test_the_bottleneck_variant_of_preresnet110():
    # 9·12 + 2 layers: three stages of 12 bottlenecks; as in Garipov et al.'s code.
    assert count("preresnet110", settings={"block": "bottleneck"}) == 1_146_842


@pytest.mark.parametrize("name", SMALL)
def test_shapes_gradients_and_mode(name):
    torch.manual_seed(0)
    model = build_model(name, (3, 32, 32), 7, SMALL[name])
    assert model.training
    outputs = model(torch.randn(4, 3, 32, 32))
    assert outputs.shape == (4, 7)
    outputs.square().sum().backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path


@pytest.mark.parametrize("name", SMALL)
def test_weights_come_from_the_callers_generator_alone(name):
    def weights(seed):
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build_model(name, (3, 32, 32), 2, SMALL[name]).parameters())

    torch.testing.assert_close(weights(0), weights(0), rtol=0, atol=0)
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize("name", [name for name in SMALL if not name.startswith("vgg")])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 31, 33)])
def test_other_image_sizes(name, shape):
    model = build_model(name, shape, 10, SMALL[name])
    assert model(torch.randn(2, *shape)).shape == (2, 10)


def test_the_default_convnet_is_small():
    model = build_model("convnet", (1, 28, 28), 10)
    assert 20_000 <= sum(parameter.numel() for parameter in model.parameters()) <= 60_000
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_flat_inputs():
    assert build_model("mlp", (5,), 1)(torch.randn(3, 5)).shape == (3, 1)
    with pytest.raises(RequestError, match=r"takes images \(channels, height, width\).*shape \(5,\)"):
        build_model("convnet", (5,), 1)
    with pytest.raises(RequestError, match="at least 32x32 pixels, but a sample is 28x28"):
        build_model("vgg16", (1, 28, 28), 10)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("convnt", {}, "unknown model 'convnt': did you mean 'convnet'"),
        ("mlp", {"hiden": 3}, "did you mean 'hidden'"),
        ("mlp", {"hidden": "64,-1"}, "at least 1"),
        ("mlp", {"activation": "rel"}, "did you mean 'relu'"),
        ("convnet", {"width": 0}, "at least 1"),
        ("resnet20", {"depth": 32}, "unknown setting of model 'resnet20' 'depth'"),
        ("resnet20", {"skip": "perhaps"}, "true or false"),
        ("vgg16", {"batchnorm": True}, "unknown setting"),
        ("no such:form", {}, "not of the form package.module:factory"),
        ("no_such_module:f", {}, "no module named 'no_such_module'"),
        ("math:sqrt", {}, "missing a required argument"),
        ("math:pi", {}, "a value of type float"),
        ("builtins:dict", {}, "returned a dict, expected a torch.nn.Module"),
    ],
)
def test_wrong_requests_are_one_line(name, settings, message):
    with pytest.raises(RequestError, match=message) as caught:
        build_model(name, (1, 8, 8), 10, settings)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("shape", "outputs"), [((), 3), ((0,), 3), ((1, 8, 8), 0)])
def test_empty_shapes_are_refused(shape, outputs):
    with pytest.raises(RequestError, match="must be positive"):
        build_model("mlp", shape, outputs)


def test_the_users_own_factory():
    model = build_model("torch.nn:Linear", (5,), 3, {"in_features": 5, "out_features": 3})
    assert isinstance(model, nn.Linear)
    assert resolve_settings("torch.nn:Linear", {"in_features": 5}) == {"in_features": 5}


def test_resolved_settings_are_complete():
    assert resolve_settings("mlp", {"hidden": "8"}) == {"hidden": (8,), "activation": "relu", "bias": True}
    assert resolve_settings("resnet20") == {"width": 16, "skip": True, "shortcut": "A"}


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_an_optional_zoo_that_is_not_installed(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RequestError, match=f"needs {package}.*pip install {package}"):
        build_model(f"{package}:resnet18", (3, 32, 32), 10)


def test_optional_zoos_get_channels_and_classes(monkeypatch):
    timm = types.ModuleType("timm")
    timm.create_model = lambda name, pretrained, num_classes, in_chans: nn.Conv2d(in_chans, num_classes, 1)
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert build_model("timm:resnet18", (2, 8, 8), 5).weight.shape == (5, 2, 1, 1)
    with pytest.raises(RequestError, match=r"'timm:resnet18' can't be made.*drop"):
        build_model("timm:resnet18", (2, 8, 8), 5, {"drop": 1})

    models = types.ModuleType("torchvision.models")
    models.get_model = lambda name, weights, num_classes: nn.Linear(3, num_classes)
    torchvision = types.ModuleType("torchvision")
    torchvision.models = models
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    assert build_model("torchvision:resnet18", (3, 8, 8), 5).weight.shape == (5, 3)
    with pytest.raises(RequestError, match="'torchvision:resnet18' can't be made"):
        build_model("torchvision:resnet18", (3, 8, 8), 5, {"drop": 1})


def test_he_initialisation_has_its_variance():
    torch.manual_seed(0)
    model = build_model("wrn28-10", (3, 32, 32), 10, {"widen": 2})
    weight = model.stages[2][1].conv2.weight
    expected = math.sqrt(2 / (9 * weight.shape[0]))
    # 147,456 weights: the standard deviation is known to 1 / sqrt(2 · 147,456) = 0.2 %.
    assert weight.std().item() == pytest.approx(expected, rel=0.01)
