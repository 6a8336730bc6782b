"""The work of a training step: multiply-adds, bytes, layers and trained numbers, from a table of the networks.

bench.count_work counted the table once, from the networks themselves. Multiply-adds and bytes grow with the pixels
of a batch. Parameters and layers do not.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from covbench.models.catalogue import input_size

TABLE = Path(__file__).with_name("network_work.csv")
BYTES = 4  # of a float32
STEPS = ("forward", "head", "fine_tune")  # of which each is timed and estimated
BACKWARD = 3  # a training step computes about as much as three forward passes: outputs, and two gradients


@dataclass(frozen=True)
class NetworkWork:
    """What a network does for one image. A classifier's head is not included.

    side: of the image that the network sees, pixels. parameters: all of them. multiply_adds: of convolutions and dense
    layers. activations: bytes of every layer's output, float32. layers: their number. feature_side, channels: shape of
    the output.
    """

    architecture: str
    side: int
    parameters: int
    multiply_adds: int
    activations: int
    layers: int
    feature_side: int
    channels: int


class StepWork(NamedTuple):
    """What one step does: multiply-adds, bytes of activations, layers that are executed, numbers that Adam updates."""

    multiply_adds: float
    bytes: float
    layers: float
    trained: float


@dataclass(frozen=True)
class SettingWork:
    """The work of a step without gradients, and of a training step of each phase; zeros for a phase that is skipped.

    parameters: of the whole network. activations: bytes that a batch takes. passes: layers that are traced.
    """

    forward: StepWork
    head: StepWork
    fine_tune: StepWork
    parameters: float
    activations: float
    passes: float


@cache
def read_table() -> dict[str, NetworkWork]:
    """Read the table of networks, by name."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [NetworkWork(row["architecture"], *_whole_numbers(row)) for row in csv.DictReader(file)]
    return {row.architecture: row for row in rows}


def _whole_numbers(row: Mapping[str, str]) -> list[int]:
    return [int(row[field.name]) for field in fields(NetworkWork)[1:]]


def count_setting(setting: Mapping[str, Any]) -> SettingWork | None:
    """Count the work of a setting's steps.

    Args:
        setting: As step_timings.describe_setting.

    Returns:
        The work of a batch; None if the table does not have the network.
    """
    network = read_table().get(setting["architecture"])
    if network is None:
        return None
    side, batch, layers = input_size(network.architecture, setting["size"]), setting["batch_size"], network.layers
    pixels = batch * (side / network.side) ** 2
    head = _count_head(network, setting["head"], round(network.feature_side * side / network.side))
    body, written, top = network.multiply_adds * pixels, network.activations * pixels, head * batch
    parameters, phases = network.parameters + head, setting["phases"]
    nothing = StepWork(0, 0, 0, 0)
    return SettingWork(
        forward=StepWork(body + top, written, layers, 0),
        head=StepWork(body + BACKWARD * top, written, layers, head) if "head_epochs" in phases else nothing,
        fine_tune=StepWork(BACKWARD * (body + top), BACKWARD * written, BACKWARD * layers, parameters)
        if "fine_tune_epochs" in phases
        else nothing,
        parameters=parameters,
        activations=written,
        passes=layers * (1 + ("head_epochs" in phases) + BACKWARD * ("fine_tune_epochs" in phases)),
    )


def _count_head(network: NetworkWork, head: str, side: int, classes: int = 3) -> int:
    """Count the parameters of a head as models.classifier builds it. Each does one multiply-add for an image."""
    if head == "dense_512_64":
        return side**2 * network.channels * 512 + 512 + 512 * 64 + 64 + 64 * classes + classes
    if head in ("pooled_logits", "average_pool"):
        return network.channels * classes + classes
    return 0
