"""Divide a task's images into train, val and test: by patient, by image as the study did, or both recipes in one."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from covbench.audit.groups import add_groups
from covbench.protocols import SplitRule
from covbench.schema import CLASSIFICATION, FOLDS, SPLIT_COLUMNS, CovbenchError, Task

log = logging.getLogger(__name__)

FOLD_RANKS = {fold: rank for rank, fold in enumerate(FOLDS)}
TRIES = 20
TOLERANCE = 0.01


def assign_folds(rows: pd.DataFrame, duplicates: pd.DataFrame, task: Task, rule: SplitRule, seed: int) -> pd.DataFrame:
    """Divide a task's usable images into folds as a protocol does.

    The same seed gives the same split.

    Args:
        rows: schema.INDEX_COLUMNS, only rows that the task can use.
        duplicates: audit.duplicates.DUPLICATE_COLUMNS within the dataset.
        task: the task to split.
        rule: how the protocol splits this task.
        seed: seed of the random order.

    Returns:
        A table with schema.SPLIT_COLUMNS. If the rule has a val fraction of 0, each test row appears twice, as val and
        as test.

    Raises:
        CovbenchError: a class has too few images or groups to be in each fold.
    """
    if rule.base is None:
        table = _divide(rows, duplicates, task, rule, seed)
    else:
        table = assign_folds(rows, duplicates, task, rule.base, seed)
        table = draw_pool_of_folds(table, rule, seed) if rule.pool else table
    if rule.fractions[1] == 0:
        table = validate_on_test(table)
    dtypes = {name: column.dtype for name, column in SPLIT_COLUMNS.items()}
    return table.reset_index(drop=True)[[*SPLIT_COLUMNS]].astype(dtypes)


def _divide(rows: pd.DataFrame, duplicates: pd.DataFrame, task: Task, rule: SplitRule, seed: int) -> pd.DataFrame:
    """Divide the images by a rule that has no base. Arguments and errors are those of assign_folds."""
    table = _start_table(rows, duplicates, task)
    if rule.pool:
        table = draw_pool(table, rule.pool, seed)
    strata = _strata(table, rows, task)
    _require_supply(table, strata, rule, task)
    if rule.official and has_official(rows["official_fold"], task):
        table = keep_official(table, rows["official_fold"].to_numpy())
        strata = strata.loc[table.index]
    elif rule.parts > 1:
        table["fold"] = divide_parts(table["group"], strata, rule, task, seed)
    elif rule.unit == "group":
        table["fold"] = divide_groups(table["group"], strata, rule.fractions, task, seed)
    else:
        table["fold"] = divide_images(strata, rule.fractions, task, seed)
    _check_folds(table["fold"], strata, rule, task)
    return table


def _start_table(rows: pd.DataFrame, duplicates: pd.DataFrame, task: Task) -> pd.DataFrame:
    table = add_groups(rows, duplicates)[["image_id", "patient_id", "group", "duplicate_set", "source"]]
    table = table.reset_index(drop=True).assign(copy=0, label=-1)
    if task.kind == CLASSIFICATION:
        table["label"] = rows["label"].map({name: n for n, name in enumerate(task.classes)}).to_numpy()
    return table


def _strata(table: pd.DataFrame, rows: pd.DataFrame, task: Task) -> pd.Series:
    """Return what every fold should hold its share of.

    For classification these are the classes, for segmentation the diagnoses where they are known.
    """
    labels = rows.set_index("image_id")["label"]
    strata = table["image_id"].map(labels)
    return strata if task.kind == CLASSIFICATION else strata.replace("", "undiagnosed")


def draw_pool(table: pd.DataFrame, pool: int, seed: int) -> pd.DataFrame:
    """Sample at most pool / 2 images, spread evenly over patients, and add one augmented copy of each.

    Args:
        table: a row per image, with patient_id and copy.
        pool: largest number of rows to return, augmented copies included.
        seed: seed of the sample and of the order.

    Returns:
        The rows with `copy` 0 and 1, shuffled.
    """
    shuffled = table.sample(frac=1, random_state=seed)
    turn = shuffled.groupby("patient_id").cumcount()
    sampled = shuffled.loc[turn.sort_values(kind="stable").index[: pool // 2]]
    both = pd.concat([sampled, sampled.assign(copy=1)])
    return both.sample(frac=1, random_state=seed + 1).reset_index(drop=True)


def draw_pool_of_folds(table: pd.DataFrame, rule: SplitRule, seed: int) -> pd.DataFrame:
    """Draw the training and the validation rows of a pool from their folds. The test fold keeps every image once.

    Args:
        table: a row per image, with patient_id, copy and fold.
        rule: its pool and fractions say how many rows of train and val to draw.
        seed: seed of the samples and of their order.

    Returns:
        The drawn rows of train and of val, and the rows of test in their order.
    """
    parts = {fold: table[table["fold"] == fold] for fold in FOLDS}
    for fold, share in zip(FOLDS[:2], rule.fractions, strict=False):
        parts[fold] = draw_pool(parts[fold], round(rule.pool * share), seed)
    return pd.concat(parts.values())


def validate_on_test(table: pd.DataFrame) -> pd.DataFrame:
    """Train on train and val together, and let the test rows stand twice: as val and as test."""
    train, test = (table[(table["fold"] == "test") == chosen] for chosen in (False, True))
    return pd.concat([train.assign(fold="train"), test, test.assign(fold="val")])


def divide_images(strata: pd.Series, fractions: tuple[float, float, float], task: Task, seed: int) -> np.ndarray:
    """Assign each image to a fold, with the classes in proportion, whoever the patient is.

    Args:
        strata: str, (N,), the class of each image.
        fractions: shares of train, val and test, with sum 1. A val share of 0 leaves val out.
        task: the task to split. Only a classification task is stratified.
        seed: seed of the random order.

    Returns:
        The fold of each image: str, (N,).

    Raises:
        CovbenchError: there are too few images to split.
    """
    fold = pd.Series("train", strata.index)
    held = _hold_out(strata, 1 - fractions[0], task, seed)
    fold[held] = "test"
    if fractions[1] > 0:
        fold[_hold_out(strata[held], fractions[1] / (fractions[1] + fractions[2]), task, seed)] = "val"
    return fold.to_numpy()


def _hold_out(strata: pd.Series, share: float, task: Task, seed: int) -> pd.Index:
    classes = strata if task.kind == CLASSIFICATION else None
    try:
        return train_test_split(strata.index, test_size=share, random_state=seed, stratify=classes)[1]
    except ValueError as error:
        counts = ", ".join(f"{name} {count}" for name, count in strata.value_counts().items())
        raise CovbenchError(
            f"{task.name}: too few images to split ({counts}); add images or take {task.name} out of `tasks` "
            "in the config"
        ) from error


def divide_parts(groups: pd.Series, strata: pd.Series, rule: SplitRule, task: Task, seed: int) -> np.ndarray:
    """Assign whole groups to folds so that `rule.parts` seeds in a row test every group once.

    Seed s tests part s % parts of partition s // parts. The validation fold is drawn from the other parts. The folds of
    a seed depend on no other seed.

    Args:
        groups: str, (N,), the group of each image.
        strata: str, (N,), the class of each image.
        rule: its parts, and its fractions of train and val.
        task: the task to split, for error messages.
        seed: seed of the run.

    Returns:
        The fold of each image: str, (N,).

    Raises:
        CovbenchError: no order gives each part, or train and val, an image of each class.
    """
    partition, tested = divmod(seed, rule.parts)
    fold = np.full(len(groups), "test", object)
    rest = _assign_groups(groups, strata, np.full(rule.parts, 1 / rule.parts), task, partition) != tested
    train, val, _ = rule.fractions
    fold[rest] = divide_groups(groups[rest], strata[rest], (train / (train + val), val / (train + val), 0), task, seed)
    return fold


def divide_groups(
    groups: pd.Series, strata: pd.Series, fractions: tuple[float, float, float], task: Task, seed: int
) -> np.ndarray:
    """Assign whole groups to folds, with the classes in proportion as far as the groups allow.

    Groups come in random order. Each goes to the fold where it brings the counts per class closest to their targets. Up
    to TRIES orders are tried. The first whose folds are within TOLERANCE of their share of the images, and of each
    class among their images, is used, otherwise the closest.

    Args:
        groups: str, (N,), the group of each image.
        strata: str, (N,), the class of each image.
        fractions: shares of train, val and test, with sum 1. A val share of 0 leaves val out.
        task: the task to split, for error messages.
        seed: seed of the random orders.

    Returns:
        The fold of each image: str, (N,).

    Raises:
        CovbenchError: no order gives each fold an image of each class.
    """
    folds = np.flatnonzero(fractions)
    return np.array(FOLDS)[folds][_assign_groups(groups, strata, np.array(fractions)[folds], task, seed)]


def _assign_groups(groups: pd.Series, strata: pd.Series, share: np.ndarray, task: Task, seed: int) -> np.ndarray:
    """Return the fold number of each image: int64, (N,). share: float64, (F,), the folds' shares of the images."""
    counts = pd.crosstab(groups, strata)
    needed = (counts > 0).sum().to_numpy() >= len(share)
    best = _choose_positions(counts.to_numpy(), share, needed, seed)
    if best is None:
        raise CovbenchError(
            f"{task.name}: its {len(counts)} groups cannot be divided so that each fold holds each class; "
            f"add images or take {task.name} out of `tasks` in the config"
        )
    return best[counts.index.get_indexer(pd.Index(groups))]


def _choose_positions(sizes: np.ndarray, share: np.ndarray, needed: np.ndarray, seed: int) -> np.ndarray | None:
    """Return the fold number of each group in the best of up to TRIES random orders; None if no order succeeds.

    sizes: int64, (G, S), images per group and class.
    share: float64, (F,), the folds' shares of the images.
    needed: bool, (S,), whether each fold must hold the class.
    """
    best, least = None, np.inf
    rng = np.random.default_rng(seed)
    for _ in range(TRIES):
        filled = _fill_folds(sizes, share, rng.permutation(len(sizes)))
        positions = _supply_folds(sizes, filled, len(share), needed)
        if positions is None:
            continue
        if (found := _find_imbalance(sizes, positions, share)) < least:
            best, least = positions, found
        if least <= TOLERANCE:
            break
    return best


def _find_imbalance(sizes: np.ndarray, positions: np.ndarray, share: np.ndarray) -> float:
    """Return by how much a fold's share of the images, or of a class among its images, is off at most.

    sizes: int64, (G, S), images per group and class.
    positions: int64, (G,), the fold number of each group.
    share: float64, (F,), what each fold should hold of the images.
    """
    held = np.stack([sizes[positions == fold].sum(0) for fold in range(len(share))])
    images = held.sum(1)
    classes = held / images[:, None] - sizes.sum(0) / sizes.sum()
    return float(max(np.abs(images / sizes.sum() - share).max(), np.abs(classes).max()))


def _fill_folds(sizes: np.ndarray, share: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the fold number of each group, given images per group and class, (G, S), and the folds' shares, (F,)."""
    target = share[:, None] * sizes.sum(0)
    filled = np.zeros_like(target)
    positions = np.empty(len(sizes), np.int64)
    for group in order:
        gain = ((filled - target) ** 2 - (filled + sizes[group] - target) ** 2) / target**2
        positions[group] = gain.sum(1).argmax()
        filled[positions[group]] += sizes[group]
    return positions


def _supply_folds(sizes: np.ndarray, positions: np.ndarray, folds: int, needed: np.ndarray) -> np.ndarray | None:
    """Move small groups until each fold holds a group and each needed class; return None if that fails."""
    has = np.column_stack([sizes[:, needed], sizes.sum(1)]) > 0
    for _ in range(folds * has.shape[1]):
        held = np.stack([has[positions == fold].sum(0) for fold in range(folds)])
        if (held > 0).all():
            return positions
        fold, wanted = np.argwhere(held == 0)[0]
        spare = [g for g in np.flatnonzero(has[:, wanted]) if (held[positions[g]][has[g]] > 1).all()]
        if not spare:
            return None
        positions = positions.copy()
        positions[min(spare, key=lambda g: (sizes[g].sum(), g))] = fold
    held = np.stack([has[positions == fold].sum(0) for fold in range(folds)])
    return positions if (held > 0).all() else None


def has_official(official: pd.Series, task: Task) -> bool:
    """Return whether the authors publish a split of the task's images.

    official: str, (N,), the authors' fold of each image; empty where they name none.

    Raises CovbenchError if they name a fold for some of the images, but for less than half of them.
    """
    named = int((official != "").sum())
    if 0 < 2 * named < len(official):
        raise CovbenchError(
            f"{task.name}: the authors' split names {named} of {len(official)} images; complete official_fold in the "
            "index, or leave it empty for all"
        )
    return named > 0


def keep_official(table: pd.DataFrame, official: np.ndarray) -> pd.DataFrame:
    """Use the authors' own folds, without the rows that would cross them and those that they do not name.

    The number of dropped rows is logged. results/audit/dropped.csv names each of them.
    """
    table = table.assign(fold=official)
    unlisted, crossing = table["fold"] == "", find_crossing(table["fold"], table["group"])
    if crossing.any():
        log.info("official split: dropped %d rows whose patient or duplicate is in a later fold", crossing.sum())
    if unlisted.any():
        log.warning("official split: dropped %d rows that are on no list of the authors", unlisted.sum())
    return table[~crossing & ~unlisted]


def find_crossing(fold: pd.Series, group: pd.Series) -> pd.Series:
    """Return which rows have a row of their group in a later fold: bool, (N,). No test row has one.

    fold: str, (N,), train, val or test in this order; empty crosses nothing. group: str, (N,).
    """
    rank = fold.map(FOLD_RANKS)
    return rank < rank.groupby(group).transform("max")


def _require_supply(table: pd.DataFrame, strata: pd.Series, rule: SplitRule, task: Task) -> None:
    folds = sum(share > 0 for share in rule.fractions)
    by_group = rule.unit == "group"
    unit = "groups (a patient with all duplicates)" if by_group else "images"
    groups = table["group"] if by_group else pd.Series(table.index, table.index)
    supply = {name: groups[strata == name].nunique() for name in task.classes}
    if task.kind != CLASSIFICATION:
        supply = {", ".join(task.lesions): groups.nunique()}
    for name, count in supply.items():
        if count < folds:
            raise CovbenchError(
                f"{task.name}: class {name!r} has {count} {unit}, {folds} folds need at least {folds}; "
                f"add images of it or take {task.name} out of `tasks` in the config"
            )


def _check_folds(fold: pd.Series, strata: pd.Series, rule: SplitRule, task: Task) -> None:
    classes = task.classes if task.kind == CLASSIFICATION else ()
    for wanted in [name for name, share in zip(FOLDS, rule.fractions, strict=True) if share > 0]:
        missing = set(classes) - set(strata[fold == wanted])
        if missing or not (fold == wanted).any():
            raise CovbenchError(
                f"{task.name}: the {wanted} fold holds no image of {', '.join(sorted(missing)) or 'any class'}; "
                f"add images or take {task.name} out of `tasks` in the config"
            )
