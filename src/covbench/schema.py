"""The words that every stage shares: dataset cards, tasks, runs, and the columns of the tables between stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

CLASSIFICATION = "classification"
SEGMENTATION = "segmentation"
BACKGROUND = "background"
PATIENTS = ("published", "inferred", "none")


class CovbenchError(Exception):
    """A mistake that the user can mend: the message names the file or key and the remedy."""


@dataclass(frozen=True)
class GitHub:
    """A repository archive at one commit (40 hexadecimal digits)."""

    repository: str
    commit: str


@dataclass(frozen=True)
class Kaggle:
    """One version of a Kaggle dataset, `owner/name`. Versions are counted from 1."""

    dataset: str
    version: int


@dataclass(frozen=True)
class KaggleCompetition:
    """The data of a Kaggle competition, whose rules the user has to accept first."""

    competition: str


@dataclass(frozen=True)
class Zenodo:
    """Files of a Zenodo record: file name -> md5 as published in the record, or `sha256:…`; empty: all its files."""

    record: str
    md5: Mapping[str, str]


@dataclass(frozen=True)
class Synthetic:
    """A dataset that draws itself into a folder: no download, no licence."""

    draw: Callable[[Path], None]


Source = GitHub | Kaggle | KaggleCompetition | Zenodo | Synthetic


@dataclass(frozen=True)
class Annotations:
    """Files of another source that mark the images of a dataset. They lie in a folder of the dataset's own.

    mirror_folders: names under which a local mirror may hold them. A mirror without them is used as it is.
    """

    source: Source
    folder: str
    mirror_folders: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A dataset with a label scheme.

    classes: position = class number. For segmentation the first is `background`, and mask names of the index that
        are not listed here count as background.
    positive: the class whose sensitivity, specificity and AUROC a binary task reports.
    lesions: segmentation classes that together are the lesion.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    positive: str = ""
    lesions: tuple[str, ...] = ()


NOT_STATED = "not stated by the source"


@dataclass(frozen=True)
class Datasheet:
    """How a dataset was made, as its authors say it (after Gebru et al. 2021, Communications of the ACM 64(12):86).

    Each field holds what the source says, in a sentence or two that name it, or NOT_STATED.

    label_origin: what decided the label or mask of an image: RT-PCR, a report, the caption of a figure, a radiologist.
    label_source: where this is stated.
    collection: where the images come from, and how they were chosen.
    annotation: who annotated, how, and with which tool.
    biases: what a model may learn beside the disease.
    limitations: what the dataset cannot show.
    sensitive: what it says about persons.
    """

    label_origin: str = NOT_STATED
    label_source: str = NOT_STATED
    collection: str = NOT_STATED
    annotation: str = NOT_STATED
    biases: str = NOT_STATED
    limitations: str = NOT_STATED
    sensitive: str = NOT_STATED

    @property
    def labels(self) -> str:
        """What decided the labels, and where this is stated."""
        return f"{self.label_origin} Source: {self.label_source}."


@dataclass(frozen=True)
class Card:
    """What a dataset is, where it comes from and which tasks it poses.

    mirror_folders: names under which a local mirror may hold it, tried in order.
    modality: `xray` or `ct`.
    patients: one of PATIENTS: the authors publish them, the parser infers them, or nothing is known about them.
    official_split: whether the authors publish a split.
    datasheet: how it was made.
    annotations: masks that others have added; None: there are none.
    lung_mask: from the path of an image to that of the lung mask that the authors ship with it, whether or not it is
        there; None where they ship none.
    lesion_mask: from the dataset's folder and the path of an image to the mask of its lesions, bool, (H, W), or None
        where it has none; None where the authors ship none.
    """

    title: str
    modality: str
    tasks: tuple[Task, ...]
    sources: tuple[Source, ...]
    mirror_folders: tuple[str, ...]
    licence: str
    citation: str
    homepage: str = ""
    patients: str = PATIENTS[0]
    official_split: bool = False
    datasheet: Datasheet = Datasheet()
    annotations: Annotations | None = None
    lung_mask: Callable[[str], str] | None = None
    lesion_mask: Callable[[Path, str], np.ndarray | None] | None = None

    @property
    def all_sources(self) -> tuple[Source, ...]:
        """Its sources, and that of its annotations."""
        return (*self.sources, *([self.annotations.source] if self.annotations else []))

    @property
    def synthetic(self) -> bool:
        """Whether its images are drawn here: they show one anatomy, and need no mirror."""
        return bool(self.sources) and all(isinstance(source, Synthetic) for source in self.sources)

    @property
    def publishes_patients(self) -> bool:
        """Whether its patients can be counted: neither inferred nor unknown."""
        return self.patients == PATIENTS[0]


@dataclass(frozen=True)
class Run:
    """One cell of the grid: one model, trained once."""

    task: str
    protocol: str
    architecture: str
    seed: int

    @property
    def path(self) -> str:
        """Where its files lie below results/runs/, and its checkpoints below checkpoints/."""
        return f"{self.task}/{self.protocol}/{self.architecture}/{self.seed}"

    @property
    def folder(self) -> str:
        """Where its files lie, relative to the working directory."""
        return f"results/runs/{self.path}"


@dataclass(frozen=True)
class Trial(Run):
    """A training of a search: it is scored on the validation fold and predicts nothing. trial: counted from 0."""

    trial: int

    @property
    def path(self) -> str:
        """Beside the folder of its run, which clears its checkpoints of everything else when it has finished."""
        return f"{self.task}/{self.protocol}/{self.architecture}/trials/{self.seed}/{self.trial}"


@dataclass(frozen=True)
class Column:
    """A column of a table: pandas dtype and meaning."""

    dtype: str
    meaning: str = field(compare=False)


INDEX_COLUMNS: dict[str, Column] = {
    "image_id": Column("str", "unique in the dataset, stable between fetches; for a slice: file#frame"),
    "patient_id": Column("str", "as published, or inferred by the parser; the image_id itself where nothing is known"),
    "path": Column("str", "file, relative to the dataset's raw folder, with forward slashes"),
    "frame": Column("int64", "slice number in a volume or stack; -1: the file is one image"),
    "label": Column("str", "class name; empty where the dataset labels pixels only"),
    "mask": Column("str", "mask file, relative to the raw folder; same frame; empty where there is none"),
    "mask_values": Column("str", "what its numbers mean: '1:ground_glass 2:consolidation' or '128-255:infection'"),
    "modality": Column("str", "xray or ct"),
    "view": Column("str", "PA, AP, AP Supine, L, Axial, Coronal, …; empty where unknown"),
    "source": Column("str", "hospital, journal or crawl as far as metadata tell; empty where unknown"),
    "sex": Column("str", "F or M; empty where unknown"),
    "age_band": Column("str", "years in bands of twenty: 0-19, 20-39, 40-59, 60-79 or 80+; empty where unknown"),
    "official_fold": Column("str", "train, val or test where the authors publish a split; else empty"),
    "window_low": Column("float64", "HU shown as 0; NaN: stored values are display values already"),
    "window_high": Column("float64", "HU shown as 255; NaN as above"),
    "orientation": Column(
        "str", "where a slice's stored axes run ('LP': left, back); empty: upright, or as its header says"
    ),
    "sha256": Column("str", "of the file's bytes; of the frame's pixels for a slice"),
    "phash": Column("str", "64-bit perceptual hash of the grey image, 16 hexadecimal digits; empty if unreadable"),
    "excluded": Column("bool", "cannot be used"),
    "reason": Column("str", "why it cannot be used; empty otherwise"),
}

FOLDS = ("train", "val", "test")

SPLIT_COLUMNS: dict[str, Column] = {
    "image_id": Column("str", "as in the index"),
    "copy": Column("int64", "0: the image itself; k > 0: its k-th augmented copy (published Zenodo splits)"),
    "patient_id": Column("str", "as in the index"),
    "group": Column("str", "the patient with all near-duplicates; named after its first patient"),
    "duplicate_set": Column("str", "images that are duplicates of each other, of any kind; named after the first"),
    "source": Column("str", "as in the index"),
    "label": Column("int64", "class number; -1 for segmentation"),
    "fold": Column("str", "train, val or test; an image may stand in val and test where a protocol did so"),
}

PREDICTION_COLUMNS: dict[str, Column] = {
    "image_id": Column("str", "as in the split"),
    "copy": Column("int64", "as in the split"),
    "patient_id": Column("str", "as in the split"),
    "group": Column("str", "as in the split"),
    "duplicate_set": Column("str", "as in the split"),
    "source": Column("str", "as in the split"),
    "fold": Column("str", "val or test"),
    "truth": Column("int64", "class number; -1 for segmentation"),
    "seed": Column("int64", "of the run"),
}  # classification adds p_0 … p_{C-1} (float32, sum 1); segmentation keeps rows in the order of predicted_masks.npz

LABELS_ONLY = "labels_only"
"""Column of predictions and cases that is true where a contestant names a class: it has then the probability 1."""

HISTORY_COLUMNS: dict[str, Column] = {
    "epoch": Column("int64", "counted from 0 through all phases"),
    "phase": Column("str", "head (backbone frozen) or fine_tune"),
    "learning_rate": Column("float64", "at the end of the epoch"),
    "loss": Column("float64", "training"),
    "accuracy": Column("float64", "training; per pixel for segmentation"),
    "val_loss": Column("float64", "validation"),
    "val_accuracy": Column("float64", "validation"),
    "seconds": Column("float64", "wall time of the epoch"),
}

NETWORK_COST_COLUMNS: dict[str, Column] = {
    "architecture": Column("str", "name in the catalogue"),
    "kind": Column("str", "classification or segmentation"),
    "side": Column("int64", "of the image, pixels"),
    "parameters": Column("int64", "of the network with its head"),
    "multiply_adds": Column("int64", "of convolutions and dense layers, for one image"),
    "latency_ms": Column("float64", "wall time of an answer for one image on one thread, median"),
    "processor_ms": Column("float64", "its processor time, which other programs disturb less"),
    "memory_mb": Column("float64", "peak resident memory of the process that answers"),
    "trainings": Column("float64", "scored trainings in results/compare/runs.csv; this and what follows may be empty"),
    "train_seconds": Column("float64", "wall time of a training, median"),
    "train_memory_mb": Column("float64", "largest peak memory of a training"),
    "train_kwh": Column("float64", "energy of a training, median"),
    "energy_basis": Column("str", "measured, estimated or partly measured"),
}
"""benchmarks/network_costs.csv, which `covbench cost` writes and the report shows."""
NETWORK_COSTS = "benchmarks/network_costs.csv"

CELL_COLUMNS: dict[str, Column] = {
    "task": Column("str", "task: a dataset with a label scheme"),
    "protocol": Column("str", "published, published_audited_split or audited"),
}
"""A cell of the grid, in the tables of the audit and of the comparison."""
