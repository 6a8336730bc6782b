"""The words that every stage shares: dataset cards, tasks, runs, and the columns of the tables between stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
    """A Kaggle dataset, `owner/name`."""

    dataset: str


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


@dataclass(frozen=True)
class Card:
    """What a dataset is, where it comes from and which tasks it poses.

    mirror_folders: names under which a local mirror may hold it, tried in order.
    modality: `xray` or `ct`.
    patients: one of PATIENTS: the authors publish them, the parser infers them, or nothing is known about them.
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
    def folder(self) -> str:
        """Where its files lie, relative to the working directory."""
        return f"results/runs/{self.task}/{self.protocol}/{self.architecture}/{self.seed}"


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

_TASK = {"task": Column("str", "task: a dataset with a label scheme")}
_CELL = {**_TASK, "protocol": Column("str", "published, published_audited_split or audited")}
_MODEL = {**_CELL, "architecture": Column("str", "network or baseline")}
_FAMILY = {"family": Column("str", "deep or baseline")}
_WEIGHTS = {"weights": Column("str", "file of pretrained weights, or none")}
_METRIC = {"metric": Column("str", "key of metrics.json")}
_INTERVAL = {
    "low": Column("float64", "lower end of the 95 % interval; empty: none"),
    "high": Column("float64", "upper end of it"),
}
_COVERS = {
    "covers": Column("str", "what the interval covers: patients and training, or patients alone; empty: no interval"),
}


def _with_interval(name: str, meaning: str) -> dict[str, Column]:
    """Three columns: a difference and the two ends of its 95 % interval."""
    return {
        name: Column("float64", meaning),
        f"{name}_low": Column("float64", "lower end of its 95 % interval; shared groups are drawn for both protocols"),
        f"{name}_high": Column("float64", "upper end of it"),
    }


_CHANGE = _with_interval("change", "mean under audited minus mean under published")
_SEEDS = {"seeds": Column("int64", "runs for which the metric is defined")}


def _under(protocols: Sequence[str], names: Mapping[str, str]) -> dict[str, Column]:
    """Columns of numbers, once per protocol: `{name}_published`, `{name}_audited`, …."""
    return {
        f"{name}_{protocol}": Column("float64", f"{meaning}, under {protocol}")
        for protocol in protocols
        for name, meaning in names.items()
    }


COMPARE_TABLES: dict[str, dict[str, Column]] = {
    "metrics": {
        **_MODEL,
        **_FAMILY,
        "seed": Column("int64", "of the run"),
        "class": Column("str", "class of a per-class metric; empty: of the whole test fold"),
        **_METRIC,
        "value": Column("float64", "score on the test fold; empty: undefined"),
        **_INTERVAL,
        "reason": Column("str", "why there is no value or no interval; else empty"),
    },
    "summary": {
        **_MODEL,
        **_FAMILY,
        **_METRIC,
        **_SEEDS,
        "values": Column("str", "score of each seed, in the order of the seeds, with three digits"),
        "mean": Column("float64", "over these seeds; empty: undefined in all"),
        "sd": Column("float64", "standard deviation over seeds; empty for a single one"),
        **_INTERVAL,
        **_COVERS,
        "groups": Column("int64", "groups of images that the score rests on, all seeds together"),
        "se": Column("float64", "standard error of the mean, of what the interval covers"),
        "df": Column("float64", "degrees of freedom of that error; empty: a normal quantile or no error"),
        "run_se": Column("float64", "standard error of a single run's score over patients"),
        "training_sd": Column("float64", "standard deviation of a score over trainings alone; empty: too few seeds"),
        "without_duplicates": Column("float64", "mean on one image per duplicate_set; headline metrics only"),
        "duplicates_dropped": Column("float64", "test images left out for it, mean over seeds"),
        "reason": Column("str", "why there is no interval, or why it covers patients alone; else empty"),
        **_WEIGHTS,
    },
    "protocols": {
        **_TASK,
        "architecture": _MODEL["architecture"],
        **_FAMILY,
        **_METRIC,
        **_under(
            ("published", "published_audited_split", "audited"),
            {"mean": "mean over seeds", "low": "lower end of its interval", "high": "upper end of it"},
        ),
        **_with_interval("split_change", "published_audited_split minus published: what the split alone changes"),
        **_with_interval("recipe_change", "audited minus published_audited_split: what the recipe changes"),
        **_CHANGE,
        **_COVERS,
        "reason": Column("str", "why an interval is missing, or covers patients alone; else empty"),
    },
    "pairs": {
        **_CELL,
        **_METRIC,
        "one": Column("str", "first model"),
        "other": Column("str", "second model"),
        "seeds": Column("int64", "runs of each"),
        "groups": Column("int64", "groups of images whose answers differ"),
        "difference": Column("float64", "mean over seeds, first minus second"),
        **_INTERVAL,
        "scope": Column("str", "what the verdict speaks of: architectures, or trained models"),
        "test": Column("str", "name of the paired test"),
        "p": Column("float64", "of this pair alone; below .05 exactly where the interval excludes 0"),
        "p_holm": Column("float64", "corrected for all pairs of this task, protocol and metric (Holm)"),
        "smallest_p": Column("float64", "smallest p that so many groups can give: 2 of all orders of the two models"),
        "verdict": Column("str", "of the first model: better, worse, undecided or cannot be decided (p_holm < .05)"),
        "reason": Column("str", "why it cannot be decided, or why it speaks of trained models; else empty"),
    },
    "ranks": {
        **_CELL,
        **_METRIC,
        "architecture": _MODEL["architecture"],
        **_FAMILY,
        "score": Column("float64", "mean over seeds"),
        "best": Column("int64", "1 + the models that the verdicts of `pairs` call better"),
        "worst": Column("int64", "number of models - those that the verdicts call worse"),
        "models": Column("int64", "ranked models"),
    },
    "resolution": {
        **_CELL,
        **_METRIC,
        "groups": Column("int64", "of the test folds, all seeds together"),
        "seeds": Column("int64", "runs of each model"),
        "models": Column("int64", "compared models"),
        "error": Column("float64", "standard error of the difference of two models"),
        "df": Column("float64", "its degrees of freedom"),
        "resolvable": Column("float64", "smallest true difference that is found in 80 % of such studies; empty: none"),
        "basis": Column("str", "what the error is taken from"),
    },
    "published": {
        **_TASK,
        "architecture": Column("str", "network of ours that is set beside the value: the one that the study trained"),
        "study_model": Column("str", "network as the study names it"),
        "metric": Column("str", "as the study names it"),
        "reported": Column("float64", "value in the study"),
        "source": Column("str", "where the study reports it"),
        "our_metric": Column("str", "metric of ours that is set beside it"),
        "class": Column("str", "class that the value speaks of"),
        "averaging": Column("str", "how the value is averaged"),
        "test_images": Column("int64", "in the study's test set"),
        "images": Column("str", "what the study's test set was drawn from"),
        **_under(
            ("published", "published_audited_split", "audited"),
            {"value": "our mean over seeds", "low": "lower end of its interval", "high": "upper end of it"},
        ),
        **_with_interval("difference", "our mean under published minus the reported value"),
        "empty_mask": Column("float64", "what a mask without any lesion scores in the same test folds"),
        **_CHANGE,
        "verdict": Column("str", "matches, differs or untestable"),
        "why": Column("str", "reason of the verdict"),
        "note": Column("str", "why this metric of ours was chosen"),
        "definition": Column("str", "what our metric counts"),
    },
    "findings": {
        "finding": Column("str", "what the values are, in a few words"),
        **_TASK,
        "models": Column("str", "rows that it concerns, as the study names them, separated by blanks"),
        "metrics": Column("str", "values that it concerns, as the study names them, separated by blanks"),
        "values": Column("int64", "number of these values"),
        "untestable": Column("str", "yes: the values cannot be judged; else empty"),
        "words": Column("str", "what was found, in a sentence or two"),
        "evidence": Column("str", "file and cell of the study that show it"),
    },
    "literature": {
        **_TASK,
        "protocol": Column("str", "test set, in words"),
        "model": Column("str", "as its authors name it"),
        "metric": Column("str", "as its authors name it"),
        "value": Column("float64", "as reported"),
        "note": Column("str", "what else to know"),
        "source": Column("str", "publication"),
    },
    "external": {
        **_MODEL,
        "tested_on": Column("str", "task of the other dataset"),
        **_METRIC,
        "seeds": Column("int64", "tested runs"),
        **{
            f"{side}{end}": Column("float64", f"{meaning}{words}")
            for side, meaning in (
                ("internal", "on the own test fold, labels reduced to what both datasets share"),
                ("external", "on the new images of the other dataset"),
                ("drop", "internal minus external"),
            )
            for end, words in (("", ""), ("_low", ", lower end of the interval"), ("_high", ", upper end of it"))
        },
        "images": Column("float64", "new images of the other dataset; empty: not tested"),
        "patients": Column("float64", "patients among them; empty: the dataset publishes none"),
        "groups": Column("float64", "groups among them: patients with all near-duplicates"),
        "usable": Column("float64", "images of the other dataset that can be used"),
        "duplicates": Column("float64", "of these, images that the own dataset holds too"),
        "removed": Column("float64", "images left out: duplicates and all others of their groups"),
        **_COVERS,
        "reason": Column("str", "why there is no score or no interval, or why it covers patients alone; else empty"),
        **_WEIGHTS,
    },
    "runs": {
        **_MODEL,
        **_FAMILY,
        "seed": Column("int64", "of the run"),
        "state": Column("str", "scored, trained, stale, running, failed or missing"),
        "reason": Column("str", "why it is not scored, or which edits were accepted; else empty"),
        "seconds": Column("float64", "of training, all restarts together; this and what follows: of scored runs only"),
        "parameters": Column("float64", "of the network; 0 for a baseline"),
        "epochs_run": Column("float64", "trained epochs"),
        "best_epoch": Column("float64", "epoch of the kept weights, counted from 0"),
        "peak_memory_mb": Column("float64", "resident memory of the job at its peak"),
        "device": Column("str", "where it was trained: name of the GPU, or cpu"),
        "cpu": Column("str", "model of the processor"),
        "instruction_set": Column("str", "widest one that oneDNN may use on it"),
        "threads": Column("float64", "of the training"),
        "precision": Column("str", "numbers that the network was trained in"),
        **_WEIGHTS,
        "fingerprint": Column("str", "sha256 of everything that decided the run"),
        "git_commit": Column("str", "commit of the code that trained it"),
        "finished": Column("str", "when, ISO 8601, UTC"),
        "images": Column("float64", "in the test fold"),
        "patients": Column("float64", "in the test fold; empty: the dataset publishes none"),
        "groups": Column("float64", "in the test fold: patients with all near-duplicates"),
    },
}
"""Columns of results/compare/{name}.csv, in their order."""
