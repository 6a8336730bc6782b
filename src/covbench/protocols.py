"""What the protocols mean: `published` repeats the study, `audited` keeps patients and duplicates apart.

A protocol is one entry of PROTOCOLS. Source of `published`: the study (arXiv:2605.20445, arXiv:2605.20459) and its
notebooks; docs/explanation/protocols.md has a row per choice: what the study did, where it says so, and why a choice
differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from covbench.schema import CLASSIFICATION, CovbenchError, Task
from covbench.study.recipes import find_recipe

PUBLISHED = "published"
PUBLISHED_AUDITED_SPLIT = "published_audited_split"
AUDITED = "audited"

EVERY_EPOCH = "every_epoch"
BEST, LAST = "best", "last"


@dataclass(frozen=True)
class Options:
    """Training choices of one run, resolved from protocol, task and config.

    size: side of the square input, pixels.
    resize: how stored images are brought to this size, a name of covbench.data.resizing.RESIZES.
    head_epochs, head_rate: first phase, backbone frozen (classification) or skipped (0).
    fine_tune_epochs, fine_tune_rate: second phase, everything trainable; 0 epochs: skipped.
    decay: factor by which the rate falls over one phase, evenly in the logarithm; 1: constant.
    head: layers after the backbone. Classification: `dense_512_64` (the study's for two classes, a sigmoid each),
        `pooled_logits` (the study's for three classes) or `average_pool` (with dropout). Segmentation: `softmax_map`
        or `background_sigmoid` (the study's for two classes: one sigmoid, of the background).
    scaling: `unit` (1/255 for every backbone), `raw` (0-255) or `own` (what the backbone was trained with).
    augmentation: a name of covbench.data.augmentation.AUGMENTATIONS.
    augment_test: whether validation and test images are augmented too, as the study did for three classes.
    shuffle: draw a new order of the training images for each epoch; otherwise every epoch keeps the fold's order.
    loss: a name of covbench.models.losses.LOSSES.
    class_weights: weigh classes by inverse frequency in the training fold.
    keep: which epoch's weights are scored: `best` (lowest validation loss) or `last`.
    patience: epochs without a better validation loss before stopping; 0: never stop early.
    plateau: divide the rate by ten after ten epochs without a better validation loss (Keras's ReduceLROnPlateau).
    refresh_batch_norm: before validating, re-estimate batch-norm statistics over up to 30 batches of the training fold
        (training.schedule.REFRESH_BATCHES), others in each epoch.
    augmented_views: how many augmented views of an image a frozen backbone sees, in turn by epoch; `every_epoch`: a new
        one each.
    """

    size: int
    resize: str
    batch_size: int
    head_epochs: int
    head_rate: float
    fine_tune_epochs: int
    fine_tune_rate: float
    decay: float
    head: str
    scaling: str
    augmentation: str
    augment_test: bool
    shuffle: bool
    loss: str
    class_weights: bool
    keep: str
    patience: int
    plateau: bool
    refresh_batch_norm: bool
    augmented_views: int | str


@dataclass(frozen=True)
class SplitRule:
    """How a protocol divides a task.

    unit: `image` or `group` (patient and duplicates together).
    fractions: train, val, test; a val of 0 means that the test fold also validates, as the study did.
    official: use the authors' own split where the dataset publishes one.
    pool: rows drawn before splitting, half of them augmented copies; 0: every image once.
    parts: for groups. Seed s tests part s % parts of partition s // parts, so that as many seeds test every group
        once; the share of test images is then 1 / parts. 1: each seed draws its own test fold.
    base: rule whose folds are taken. This rule then draws its pool within them and says whether the test fold also
        validates, and divides nothing itself.
    """

    unit: str
    fractions: tuple[float, float, float]
    official: bool = False
    pool: int = 0
    parts: int = 1
    base: SplitRule | None = None


@dataclass(frozen=True)
class Protocol:
    """One way to split, train and choose models.

    meaning: in a sentence or two, for the report. options: from a task and the name of a network or baseline to its
    training choices, before the config changes any. split: from a task to the rule that divides it. repeats: protocol
    whose options it has, with all changes that the config makes to them; empty: it has options of its own. searched:
    whether `search` in the config chooses its learning rates.
    """

    meaning: str
    options: Callable[[Task, str], Options]
    split: Callable[[Task], SplitRule]
    repeats: str = ""
    searched: bool = False


_PUBLISHED_BINARY = Options(
    size=224,
    resize="linear",
    batch_size=32,
    head_epochs=20,
    head_rate=1e-4,
    fine_tune_epochs=0,
    fine_tune_rate=0.0,
    decay=1.0,
    head="dense_512_64",
    scaling="unit",
    augmentation="rotation",
    augment_test=False,
    shuffle=True,
    loss="categorical_crossentropy",
    class_weights=False,
    keep=LAST,
    patience=0,
    plateau=False,
    refresh_batch_norm=False,
    augmented_views=8,
)
_PUBLISHED_MULTICLASS = replace(
    _PUBLISHED_BINARY,
    resize="nearest",
    head_epochs=10,
    head_rate=1e-3,
    head="pooled_logits",
    augmentation="affine",
    augment_test=True,
)
_PUBLISHED_EPOCHS = {
    "covid_ct": {"": 50, "vgg16": 500},
    "sarscov2_ct": {"": 20, "vgg16": 50},
}
"""Task -> network -> the study's epochs; the empty name: all other networks."""
_PUBLISHED_INPUTS = {
    "radiography": {
        **dict.fromkeys(("inceptionresnetv2", "densenet121", "inceptionv3", "vgg16"), (240, 20)),
        "nasnetlarge": (331, 32),
    }
}
"""Task -> network -> side of its images and batch size, where they differ from the task's."""
_AUDITED_CLASSIFICATION = Options(
    size=224,
    resize="antialias",
    batch_size=32,
    head_epochs=5,
    head_rate=1e-3,
    fine_tune_epochs=25,
    fine_tune_rate=1e-4,
    decay=0.1,
    head="average_pool",
    scaling="own",
    augmentation="mild",
    augment_test=False,
    shuffle=True,
    loss="categorical_crossentropy",
    class_weights=True,
    keep=BEST,
    patience=6,
    plateau=False,
    refresh_batch_norm=True,
    augmented_views=EVERY_EPOCH,
)
_PUBLISHED_MASKS = Options(
    size=256,
    resize="antialias",
    batch_size=16,
    head_epochs=0,
    head_rate=0.0,
    fine_tune_epochs=25,
    fine_tune_rate=1e-4,
    decay=1.0,
    head="softmax_map",
    scaling="raw",
    augmentation="study_classes",
    augment_test=False,
    shuffle=False,
    loss="combo",
    class_weights=False,
    keep=LAST,
    patience=0,
    plateau=True,
    refresh_batch_norm=False,
    augmented_views=EVERY_EPOCH,
)
_PUBLISHED_LESIONS = replace(
    _PUBLISHED_MASKS, head="background_sigmoid", loss="background_dice_focal", augmentation="study_lesions"
)
_PUBLISHED_MEDSEG = replace(_PUBLISHED_MASKS, augmentation="segmentation")
_AUDITED_SEGMENTATION = Options(
    size=256,
    resize="antialias",
    batch_size=8,
    head_epochs=0,
    head_rate=0.0,
    fine_tune_epochs=40,
    fine_tune_rate=3e-4,
    decay=0.05,
    head="softmax_map",
    scaling="own",
    augmentation="segmentation",
    augment_test=False,
    shuffle=True,
    loss="crossentropy_dice",
    class_weights=False,
    keep=BEST,
    patience=10,
    plateau=False,
    refresh_batch_norm=True,
    augmented_views=EVERY_EPOCH,
)

_PUBLISHED_SPLITS = {
    "sarscov2_ct": SplitRule("image", (0.75, 0.0, 0.25)),
    "covid_ct": SplitRule("image", (0.75, 0.0, 0.25)),
    "ieee8023_xray": SplitRule("image", (0.8, 0.0, 0.2)),
    "radiography": SplitRule("image", (0.7, 0.2, 0.1)),
    "zenodo_infection": SplitRule("image", (500 / 820, 300 / 820, 20 / 820), pool=820),
    "zenodo_multiclass": SplitRule("image", (2840 / 4020, 680 / 4020, 500 / 4020), pool=4020),
    "medseg_multiclass": SplitRule("image", (651 / 929, 138 / 929, 140 / 929)),
}
_PUBLISHED_SPLIT = SplitRule("image", (0.7, 0.1, 0.2))
_AUDITED_SPLIT = SplitRule("group", (8 / 15, 2 / 15, 1 / 3), official=True, parts=3)


def _published_split(task: Task) -> SplitRule:
    return _PUBLISHED_SPLITS.get(task.name, _PUBLISHED_SPLIT)


def _published_options(task: Task, architecture: str) -> Options:
    two = len(task.classes) == 2
    if task.kind == CLASSIFICATION:
        return _published_classifier(_PUBLISHED_BINARY if two else _PUBLISHED_MULTICLASS, task.name, architecture)
    options = _PUBLISHED_MEDSEG if task.name == "medseg_multiclass" else _PUBLISHED_MASKS
    recipe = find_recipe(task.name, len(task.classes), architecture)
    return replace(_PUBLISHED_LESIONS if two else options, **recipe._asdict())


def _published_classifier(usual: Options, task: str, architecture: str) -> Options:
    """Take the epochs, the size and the batch size that the study gave to a network."""
    epochs = _PUBLISHED_EPOCHS.get(task, {"": usual.head_epochs})
    size, batch_size = _PUBLISHED_INPUTS.get(task, {}).get(architecture, (usual.size, usual.batch_size))
    return replace(usual, head_epochs=epochs.get(architecture, epochs[""]), size=size, batch_size=batch_size)


def _audited_split(_: Task) -> SplitRule:
    return _AUDITED_SPLIT


def _published_audited_split(task: Task) -> SplitRule:
    return replace(_published_split(task), base=_audited_split(task))


def _audited_options(task: Task, _: str) -> Options:
    return _AUDITED_CLASSIFICATION if task.kind == CLASSIFICATION else _AUDITED_SEGMENTATION


PROTOCOLS: dict[str, Protocol] = {
    PUBLISHED: Protocol(
        "Repeats what the study's notebooks do. Images are split without regard to patients, so a patient can be in "
        "both train and test. The last epoch is scored, or the best one where the study loads it. Compare these scores "
        "with the study's. They do not say how a model does on new patients.",
        _published_options,
        _published_split,
    ),
    PUBLISHED_AUDITED_SPLIT: Protocol(
        "Repeats the study's training on the audited folds, with the test images of `audited`. Nothing else differs "
        "from `published`, so the difference between the two is what the split alone does.",
        _published_options,
        _published_audited_split,
        repeats=PUBLISHED,
    ),
    AUDITED: Protocol(
        "Patients and duplicates never cross the split. Each backbone gets its own input scaling. The validation fold "
        "alone selects the model. Rely on these scores.",
        _audited_options,
        _audited_split,
        searched=True,
    ),
}
"""By name. The config chooses among them; the report explains each."""


def split_rule(protocol: str, task: Task) -> SplitRule:
    """How `protocol` divides `task` into folds."""
    return PROTOCOLS[protocol].split(task)


def protocol_options(protocol: str, task: Task, architecture: str = "") -> Options:
    """The protocol's own choices, before the config changes any.

    Args:
        protocol: a name of PROTOCOLS.
        task: the task.
        architecture: name of the network or baseline; by default one for which the study made no exception.

    Returns:
        The options.
    """
    return PROTOCOLS[protocol].options(task, architecture)


def resolve_options(
    protocol: str, task: Task, changes: Mapping[str, Mapping[str, Mapping[str, Any]]], architecture: str = ""
) -> Options:
    """The choices of a run: the protocol's own, then `changes[protocol]` by kind, then by task name.

    Args:
        protocol: a name of PROTOCOLS.
        task: the task.
        changes: the config's `options`, by protocol, then by kind or name of task, then by option.
        architecture: as in protocol_options.

    Returns:
        The options, of the types that the protocol gives them.

    Raises:
        CovbenchError: a key is no option, or two options exclude each other.
    """
    options = dict(vars(protocol_options(protocol, task, architecture)))
    protocol = PROTOCOLS[protocol].repeats or protocol
    for level in (task.kind, task.name):
        for key, value in changes.get(protocol, {}).get(level, {}).items():
            if key not in options:
                known = ", ".join(f.name for f in fields(Options))
                raise CovbenchError(f"options.{protocol}.{level}.{key}: no such option; known: {known}")
            options[key] = value if key == "augmented_views" else type(options[key])(value)
    if options["plateau"] and options["decay"] < 1:
        raise CovbenchError(
            f"options.{protocol}: plateau and decay {options['decay']} both change the rate of {task.name}; "
            "set plateau: false or decay: 1"
        )
    return Options(**options)
