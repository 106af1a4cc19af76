"""Architectures by name: the built-in ones, the user's own `package.module:factory`, and two optional zoos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from landscape import settings as model_settings
from landscape.errors import RequestError, unknown
from landscape.factories import call_factory, is_factory
from landscape.networks.zoo.convnet import convnet
from landscape.networks.zoo.gpt import gpt2, gpt_nano, modern
from landscape.networks.zoo.mlp import mlp, softmax
from landscape.networks.zoo.preresnet import preresnet110, preresnet164
from landscape.networks.zoo.resnet import resnet
from landscape.networks.zoo.resnet18k import resnet18k
from landscape.networks.zoo.symbols import embedding_mlp, quadratic
from landscape.networks.zoo.transformer import transformer
from landscape.networks.zoo.vgg import vgg16
from landscape.networks.zoo.wideresnet import wrn28


@dataclass(frozen=True)
class ModelEntry:
    """A named architecture.

    Args:
        function: Builds the network from `(input_shape, num_outputs)`; its keyword-only parameters are the
            settings.
        summary: One line for lists.
        fixed: Keywords that the name stands for, such as a depth; they are no settings.
        text: Whether it takes windows of tokens and gives logits for each of them.
        symbols: Whether it takes rows of symbols, each one of as many as there are classes.
    """

    function: Callable[..., nn.Module]
    summary: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    text: bool = False
    symbols: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Settings and their default values."""
        return model_settings.defaults(self.function, self.fixed)


MODELS: dict[str, ModelEntry] = {
    "softmax": ModelEntry(softmax, "softmax regression: one linear layer"),
    "mlp": ModelEntry(mlp, "multilayer perceptron"),
    "convnet": ModelEntry(convnet, "small ConvNet with BatchNorm, seconds per epoch on a CPU"),
    "resnet20": ModelEntry(resnet, "CIFAR ResNet of 20 layers; skip=false without shortcuts", {"depth": 20}),
    "resnet32": ModelEntry(resnet, "CIFAR ResNet of 32 layers", {"depth": 32}),
    "resnet56": ModelEntry(resnet, "CIFAR ResNet of 56 layers", {"depth": 56}),
    "resnet110": ModelEntry(resnet, "CIFAR ResNet of 110 layers", {"depth": 110}),
    "resnet18k": ModelEntry(resnet18k, "ResNet18 of widths k, 2k, 4k, 8k (Nakkiran et al.); width=k"),
    "preresnet110": ModelEntry(preresnet110, "ResNet with pre-activation, 110 layers"),
    "preresnet164": ModelEntry(preresnet164, "ResNet with pre-activation and bottlenecks, 164 layers"),
    "vgg16": ModelEntry(vgg16, "VGG of 16 layers for CIFAR", {"batchnorm": False}),
    "vgg16-bn": ModelEntry(vgg16, "VGG of 16 layers for CIFAR with BatchNorm", {"batchnorm": True}),
    "wrn28-10": ModelEntry(wrn28, "wide ResNet of 28 layers, ten times as wide"),
    "quadratic": ModelEntry(
        quadratic, "quadratic network on symbols, which groks modular addition in seconds", symbols=True
    ),
    "embedding-mlp": ModelEntry(embedding_mlp, "multilayer perceptron on embedded symbols", symbols=True),
    "transformer": ModelEntry(transformer, "transformer for equations of any depth", symbols=True),
    "transformer-nanda": ModelEntry(
        transformer,
        "Nanda et al.'s: one layer, no LayerNorm",
        {"layers": 1, "norm": "none", "operator": False},
        symbols=True,
    ),
    "transformer-power": ModelEntry(
        transformer,
        "Power et al.'s: two layers, LayerNorm",
        {"layers": 2, "norm": "post", "operator": True},
        symbols=True,
    ),
    "gpt-nano": ModelEntry(gpt_nano, "GPT of the NanoGPT speedrun for characters, seconds on a CPU", text=True),
    "gpt2-124m": ModelEntry(gpt2, "GPT-2, the smallest", text=True),
    "modern-124m": ModelEntry(
        modern, "GPT of the NanoGPT speedrun: rotary positions, QK-norm, ReLU squared", text=True
    ),
}


def list_models() -> dict[str, str]:
    """One line about each built-in model, by name."""
    return {name: entry.summary for name, entry in MODELS.items()}


def check_text(name: str, data: str) -> None:
    """Make sure that a built-in model takes text.

    Args:
        name: The model.
        data: What the text is called.

    Raises:
        RequestError: If it takes something else.
    """
    if name in MODELS and not MODELS[name].text:
        fitting = ", ".join(key for key, entry in MODELS.items() if entry.text)
        raise RequestError(f"data set '{data}' is text, which model '{name}' can't take: choose a --model of {fitting}")


def check_symbols(name: str, data: str, whole: bool) -> None:
    """Make sure that a built-in model reads symbols where samples are symbols, and only there.

    Args:
        name: The model.
        data: What the data set is called.
        whole: Whether its samples are rows of whole numbers, not of real ones.

    Raises:
        RequestError: If the model takes the other.
    """
    if name not in MODELS or MODELS[name].symbols == whole:
        return
    fitting = ", ".join(key for key, entry in MODELS.items() if entry.symbols)
    raise RequestError(
        f"samples of data set '{data}' are symbols, which model '{name}' can't take: leave out --data-set "
        f"encoding=symbols, or choose a --model of {fitting}"
        if whole
        else f"model '{name}' reads symbols, but samples of data set '{data}' are vectors: take --data modular, "
        "permutations or parity with --data-set encoding=symbols"
    )


def resolve_settings(name: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every setting of a model with the value it will have: what a recipe should record.

    Args:
        name: As for `build_model`.
        settings: The settings that were given; text is converted to the setting's type.

    Returns:
        Settings with defaults filled in; for models that are not built in, the given ones as they are.

    Raises:
        RequestError: If the model or a setting is unknown, or a value is wrong.
    """
    if ":" in name:
        return dict(settings or {})
    if name not in MODELS:
        raise unknown("model", name, [*MODELS, "package.module:factory", "timm:NAME", "torchvision:NAME"])
    entry = MODELS[name]
    return model_settings.resolve(f"model '{name}'", entry.function, settings, entry.fixed)


def build_model(
    name: str, input_shape: tuple[int, ...], num_outputs: int, settings: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a network with freshly drawn weights.

    The weights are drawn from torch's default generator, whose state is the caller's business.

    Args:
        name: A name of `MODELS`; `package.module:factory`, called with the settings as keywords;
            `timm:NAME` or `torchvision:NAME`, for those packages' models without pretrained weights.
        input_shape: Shape of one sample, such as `(channels, height, width)`.
        num_outputs: Number of classes, or of regression targets.
        settings: Settings of the architecture by name.

    Returns:
        Network from `(B, *input_shape)` to `(B, num_outputs)`, in training mode.

    Raises:
        RequestError: If the model or a setting is unknown, a value is wrong, the factory can't be imported or
            returns no `nn.Module`, or the architecture can't take samples of that shape.
    """
    if num_outputs < 1 or not input_shape or min(input_shape) < 1:
        raise RequestError(
            f"model '{name}': input shape {tuple(input_shape)} and {num_outputs} outputs must be positive"
        )
    values = resolve_settings(name, settings)
    package, _, rest = name.partition(":")
    if package == "timm":
        return _timm(rest, input_shape, num_outputs, values)
    if package == "torchvision":
        return _torchvision(rest, num_outputs, values)
    if rest:
        return _own(name, values)
    entry = MODELS[name]
    return entry.function(tuple(input_shape), num_outputs, **entry.fixed, **values)


def _own(name: str, settings: Mapping[str, Any]) -> nn.Module:
    """The user's own network."""
    if not is_factory(name):
        raise RequestError(f"model '{name}' is not of the form package.module:factory")
    model = call_factory("model", name, settings)
    if not isinstance(model, nn.Module):
        raise RequestError(f"model '{name}' returned a {type(model).__name__}, expected a torch.nn.Module")
    return model


def _timm(name: str, input_shape: tuple[int, ...], num_outputs: int, settings: dict[str, Any]) -> nn.Module:
    """A model of timm, for this number of channels and classes."""
    try:
        import timm  # type: ignore[import-not-found, unused-ignore]
    except (ImportError, RuntimeError) as error:
        raise _missing("timm", name, error) from error
    arguments = {"pretrained": False, "num_classes": num_outputs, "in_chans": input_shape[0], **settings}
    try:
        model = timm.create_model(name, **arguments)
    except (RuntimeError, TypeError, ValueError) as error:
        raise RequestError(f"model 'timm:{name}' can't be made: {error}") from error
    assert isinstance(model, nn.Module)
    return model


def _torchvision(name: str, num_outputs: int, settings: dict[str, Any]) -> nn.Module:
    """A model of torchvision, for this number of classes."""
    try:  # beside a torch built for another device, torchvision raises RuntimeError when imported
        from torchvision.models import get_model  # type: ignore[import-not-found, unused-ignore]
    except (ImportError, RuntimeError) as error:
        raise _missing("torchvision", name, error) from error
    try:
        model = get_model(name, **{"weights": None, "num_classes": num_outputs, **settings})
    except (TypeError, ValueError) as error:
        raise RequestError(f"model 'torchvision:{name}' can't be made: {error}") from error
    assert isinstance(model, nn.Module)
    return model


def _missing(package: str, name: str, error: Exception) -> RequestError:
    """The answer when an optional package can't be imported."""
    return RequestError(
        f"model '{package}:{name}' needs {package}, which can't be imported ({error}); pip install {package}"
    )
