"""A Hugging Face-style transformer classifier and a timm-style ResNet, with data for each."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class SequenceClassifierOutput:
    logits: torch.Tensor
    hidden_states: tuple = ()


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=0.1, batch_first=True)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width), nn.Dropout(0.1))

    def forward(self, hidden, padding):
        attended, _ = self.attention(hidden, hidden, hidden, key_padding_mask=padding, need_weights=False)
        hidden = self.first(hidden + attended)
        return self.second(hidden + self.mlp(hidden))


class TransformerForSequenceClassification(nn.Module):
    def __init__(self, vocabulary=20, width=16, heads=2, layers=2, length=8, num_labels=2):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width, padding_idx=0)
        self.positions = nn.Embedding(length, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.classifier = nn.Linear(width, num_labels)

    def forward(self, input_ids=None, attention_mask=None, labels=None):
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.tokens(input_ids) + self.positions(places)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask == 0)
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return SequenceClassifierOutput(self.classifier((hidden * mask).sum(1) / mask.sum(1)))


def transformer(num_labels=2):
    return TransformerForSequenceClassification(num_labels=int(num_labels))


def sentences(count, seed):
    """Is token 5 in the sentence? Sentences of 3 to 8 tokens, padded with 0."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(6, 20, (count, 8), generator=generator)
    lengths = torch.randint(3, 9, (count,), generator=generator)
    labels = torch.arange(count) % 2
    ids[torch.arange(count), (lengths * torch.rand(count, generator=generator)).long()] = torch.where(labels == 1, 5, 6)
    mask = (torch.arange(8) < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}, labels


def text():
    return {"train": sentences(200, 0), "test": sentences(100, 1)}


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        x += shortcut
        return self.act1(x)


class ResNet(nn.Module):
    def __init__(self, num_classes=1000, in_chans=3, width=8):
        super().__init__()
        self.num_classes, self.num_features = num_classes, 2 * width
        self.conv1 = nn.Conv2d(in_chans, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(BasicBlock(width, width, 1))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2))
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
        self.fc = nn.Linear(self.num_features, num_classes)

    def forward_features(self, x):
        x = self.act1(self.bn1(self.conv1(x)))
        return self.layer2(self.layer1(x))

    def forward_head(self, x, pre_logits=False):
        x = self.global_pool(x)
        return x if pre_logits else self.fc(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


def resnet(num_classes=3, in_chans=3):
    return ResNet(int(num_classes), int(in_chans))


def pictures(count, seed):
    """Which of three corners is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randn(count, 3, 8, 8, generator=generator)
    for number, label in enumerate(labels.tolist()):
        images[number, :, 5 * (label // 2) : 5 * (label // 2) + 3, 5 * (label % 2) : 5 * (label % 2) + 3] += 1.0
    return images, labels


def images():
    return {"train": pictures(150, 0), "test": pictures(75, 1)}
