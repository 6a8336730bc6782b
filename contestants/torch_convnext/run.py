"""A small ConvNeXt (Liu et al., 2022) in PyTorch, trained from scratch. Its last epoch predicts."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

EPOCHS, BATCH, SIDE, WIDTHS = 30, 32, 96, (32, 64, 128)
given, written, (seed, device, threads) = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:6]


class Block(nn.Sequential):
    def __init__(self, width):
        spread = [nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1)]
        super().__init__(nn.Conv2d(width, width, 7, padding=3, groups=width), nn.GroupNorm(1, width), *spread)

    def forward(self, x):
        return x + super().forward(x)


def load(fold):
    table, images = pd.read_csv(given / f"{fold}.csv"), np.load(given / f"{fold}_images.npy")
    return table, nn.functional.interpolate(torch.from_numpy(images)[:, None] / 255 - 0.5, SIDE, mode="area")


torch.manual_seed(int(seed))
torch.set_num_threads(int(threads))
classes = json.loads((given / "task.json").read_text())["classes"]
(train, images), (test, pixels) = load("train"), load("test")
labels = torch.tensor([classes.index(label) for label in train["label"]])
steps = zip((1, *WIDTHS[:-1]), WIDTHS, (4, 2, 2), strict=True)  # channels before, channels after, stride
layers = [layer for a, b, s in steps for layer in (nn.Conv2d(a, b, s, s), nn.GroupNorm(1, b), Block(b))]
model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], len(classes))).to(device)
optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
for epoch in range(EPOCHS):
    for rows in torch.randperm(len(labels)).split(BATCH):
        loss = nn.functional.cross_entropy(model(images[rows].to(device)), labels[rows].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"progress {epoch + 1}/{EPOCHS} loss {loss.item():.3f}", flush=True)
with torch.no_grad():
    answers = torch.cat([model(part.to(device)).softmax(1).cpu() for part in pixels.split(BATCH)])
pd.DataFrame(answers, columns=classes).assign(id=test["id"]).to_csv(written / "predictions.csv", index=False)
