import torch
from torch import nn
from torch.nn import functional as F

from landscape.networks.zoo.preresnet import basic, bottleneck
from landscape.networks.zoo.residual import PaddedIdentity, conv3x3, stages
from landscape.networks.zoo.resnet import BasicBlock
from landscape.networks.zoo.wideresnet import WideBlock


def silence(module):
    """Set every convolution to zero, so that a residual branch vanishes."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.zeros_(part.weight)
    return module.double().eval()


def images(channels=3, size=6):
    return torch.randn(2, channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_the_padded_identity_keeps_pixels_and_adds_zeros():
    x = images()
    y = PaddedIdentity(extra=2, stride=2)(x)
    assert y.shape == (2, 5, 3, 3)
    assert torch.equal(y[:, :3], x[..., ::2, ::2])
    assert torch.equal(y[:, 3:], torch.zeros(2, 2, 3, 3, dtype=torch.float64))


def test_stages_halve_after_the_first():
    body = stages(conv3x3, 3, (4, 8, 16), num_blocks=2)
    assert [len(stage) for stage in body] == [2, 2, 2]
    assert body(torch.randn(1, 3, 8, 8)).shape == (1, 16, 2, 2)


def test_a_silent_block_is_its_shortcut():
    x = images()
    assert torch.equal(silence(BasicBlock(3, 3, 1))(x), F.relu(x))
    assert torch.equal(silence(BasicBlock(3, 6, 2))(x), F.relu(PaddedIdentity(3, 2)(x)))
    assert torch.equal(silence(basic(3, 3, 1))(x), x)
    assert torch.equal(silence(bottleneck(4, 4, 1))(images(4)), images(4))
    assert torch.equal(silence(WideBlock(3, 3, 1))(x), x)


def test_without_skip_a_silent_block_is_zero():
    assert torch.equal(silence(BasicBlock(3, 3, 1, skip=False))(images()), torch.zeros_like(images()))


def test_a_block_is_its_formula():
    block, x = BasicBlock(3, 6, 2, shortcut="B").double().eval(), images()
    residual = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), F.relu(block.shortcut[1](block.shortcut[0](x)) + residual))


def test_a_wide_block_projects_its_activated_input():
    block, x = WideBlock(3, 6, 2).double().eval(), images()
    nn.init.zeros_(block.conv2.weight)
    torch.testing.assert_close(block(x), block.projection(F.relu(block.bn1(x))))


def test_dropout_acts_in_training_only():
    block, x = WideBlock(3, 3, 1, dropout=0.5).double(), images()
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))
