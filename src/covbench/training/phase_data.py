"""The data of a training phase and the network that sees them: images for the whole model, or features for its head."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import keras

from covbench.data.augmentation import AUGMENTATIONS
from covbench.data.folds import Fold
from covbench.protocols import Options
from covbench.training.batches import Batches
from covbench.training.frozen_features import VIEW_SEED, FeatureBatches, FeatureStore, View, cut_classifier, show_test


class PhaseData(Protocol):
    """The network that a phase fits, and the batches that it sees."""

    @property
    def network(self) -> keras.Model:
        """The whole model, or a part of it that shares its layers."""

    @property
    def val_batches(self) -> Batches:
        """The validation fold in its own order, augmented only if the options ask for it."""

    def train_batches(self, epoch: int, first: int = 0, micro_batches: int = 1) -> Batches:
        """Prepare the training batches of an epoch.

        Args:
            epoch: counted from 0 through all phases.
            first: number of micro-batches to leave out at the start.
            micro_batches: number of micro-batches per batch.

        Returns:
            The batches, in the order and with the augmentation that seed and epoch draw.
        """


@dataclass(frozen=True, eq=False)
class ImageData:
    """Augmented images for the whole model."""

    network: keras.Model
    train: Fold
    val: Fold
    options: Options
    seed: int

    @cached_property
    def val_batches(self) -> Batches:
        shown = AUGMENTATIONS[self.options.augmentation if self.options.augment_test else "none"]
        return Batches(self.val, self.options.batch_size, self.seed, augmentation=shown)

    def train_batches(self, epoch: int, first: int = 0, micro_batches: int = 1) -> Batches:
        """Prepare augmented images.

        Args:
            epoch: as in PhaseData.
            first: as in PhaseData.
            micro_batches: as in PhaseData.

        Returns:
            The batches, in the order and with the augmentation that seed and epoch draw.
        """
        return Batches(
            self.train,
            self.options.batch_size,
            self.seed,
            epoch,
            AUGMENTATIONS[self.options.augmentation],
            shuffle=self.options.shuffle,
            first=first,
            micro_batches=micro_batches,
        )


@dataclass(frozen=True, eq=False)
class FeatureData:
    """Features of a few augmented views of each image, for the head of a model whose backbone is frozen."""

    network: keras.Model
    store: FeatureStore
    train: Fold
    val: Fold
    options: Options
    seed: int

    @cached_property
    def val_batches(self) -> FeatureBatches:
        view = show_test(self.options, VIEW_SEED)
        return FeatureBatches(self.store, view, self.val, self.options.batch_size, self.seed)

    def train_batches(self, epoch: int, first: int = 0, micro_batches: int = 1) -> FeatureBatches:
        """Prepare features of the augmented view that the epoch shows.

        Args:
            epoch: as in PhaseData.
            first: as in PhaseData.
            micro_batches: as in PhaseData.

        Returns:
            The batches, in the order that seed and epoch draw.
        """
        views = 1 if self.options.augmentation == "none" else int(self.options.augmented_views)
        return FeatureBatches(
            self.store,
            View(self.options.augmentation, epoch % views),
            self.train,
            self.options.batch_size,
            self.seed,
            epoch,
            shuffle=self.options.shuffle,
            first=first,
            micro_batches=micro_batches,
        )


def prepare_features(model: keras.Model, train: Fold, val: Fold, options: Options, seed: int) -> FeatureData:
    """Cut a classifier with a frozen backbone in two and open the features of its images.

    Args:
        model: the whole classifier; the head that is returned shares its layers.
        train: the training fold.
        val: the validation fold, of the same prepared array.
        options: of the run; `augmented_views` is a number.
        seed: of the run.

    Returns:
        The head and the batches for it.
    """
    extractor, head = cut_classifier(model)
    return FeatureData(head, FeatureStore(extractor, train.images), train, val, options, seed)


def name_images(data: PhaseData, epoch: int, batch: int) -> list[str]:
    """Return the image_id of each image in one training batch, for a message about a faulty image.

    Args:
        data: of the phase.
        epoch: counted from 0 through all phases.
        batch: number of whole batches before it in the epoch.

    Returns:
        The names in the order of the batch.
    """
    rest = data.train_batches(epoch, first=batch)
    return list(rest.fold.rows["image_id"].iloc[rest.chosen[0]])
