"""Loss functions by name, in pure Keras 3: one-hot targets and probabilities, (..., C) each, computed in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import keras
from keras import losses, ops

from covbench.schema import CovbenchError

FOCAL_GAMMA = 2.0  # Lin et al. 2017, arXiv:1708.02002
BACKGROUND_ALPHA = 0.25  # of background pixels in the focal term, as in segmentation_models 1.0.1
SMOOTH = 1e-5  # of Dice, as in segmentation_models 1.0.1
PRESENT_WEIGHT = 0.6  # of a class where it is present, in the study's cross entropy
COMBO_ALPHA = 0.8  # of the study's focal term
INVENTED_WEIGHT = 0.3  # of false positives; Salehi et al. 2017, arXiv:1706.05721
MISSED_WEIGHT = 0.7  # of false negatives
COMBO_SMOOTH = 1.0  # of the study's Tversky term


def _crossentropy(truth: Any, probabilities: Any) -> Any:
    """Return the categorical cross entropy.

    On TensorFlow, Keras takes it from the logits wherever the probabilities are the output of a softmax or sigmoid
    layer: those that it computes in `fit` are never clipped, and two sigmoids are trained as the softmax of their
    logits. The study's TensorFlow 2.4 did the same.
    """
    return losses.categorical_crossentropy(truth, probabilities)


def _dice(truth: Any, probabilities: Any) -> Any:
    return ops.mean(losses.dice(truth, probabilities, axis=tuple(range(len(truth.shape) - 1))))


def _background_dice(truth: Any, probabilities: Any) -> Any:
    """DiceLoss() of segmentation_models 1.0.1 on the background alone: all pixels of the batch pooled."""
    true, guess = truth[..., 0], probabilities[..., 0]
    return 1 - (2 * ops.sum(true * guess) + SMOOTH) / (ops.sum(true) + ops.sum(guess) + SMOOTH)


def _background_focal(truth: Any, probabilities: Any) -> Any:
    """BinaryFocalLoss() of segmentation_models 1.0.1 on the background alone, per pixel."""
    true, guess = truth[..., 0], _clip(probabilities[..., 0])
    background = true * BACKGROUND_ALPHA * (1 - guess) ** FOCAL_GAMMA * ops.log(guess)
    return -background - (1 - true) * (1 - BACKGROUND_ALPHA) * guess**FOCAL_GAMMA * ops.log(1 - guess)


def _weighted_crossentropy(truth: Any, probabilities: Any) -> Any:
    """Binary cross entropy of every class, averaged over them. A class counts less where it is present."""
    guess = _clip(probabilities)
    return -ops.mean(PRESENT_WEIGHT * truth * ops.log(guess) + (1 - truth) * ops.log(1 - guess), axis=-1)


def _focal_of_mean(truth: Any, probabilities: Any) -> Any:
    """The focal loss of one number, the mean binary cross entropy over all pixels and classes of the batch."""
    mean = ops.mean(losses.binary_crossentropy(truth, probabilities))
    return COMBO_ALPHA * (1 - ops.exp(-mean)) ** FOCAL_GAMMA * mean


def _flat_tversky(truth: Any, probabilities: Any) -> Any:
    """The Tversky loss with the pixels of all classes in one sum, so that a common class outweighs a rare one."""
    hits = ops.sum(truth * probabilities)
    invented, missed = ops.sum((1 - truth) * probabilities), ops.sum(truth * (1 - probabilities))
    weighed = hits + INVENTED_WEIGHT * invented + MISSED_WEIGHT * missed
    return 1 - (hits + COMBO_SMOOTH) / (weighed + COMBO_SMOOTH)


def _clip(probabilities: Any) -> Any:
    return ops.clip(probabilities, keras.config.epsilon(), 1 - keras.config.epsilon())


# per sample or pixel, (…, C) -> (…); may be weighted by the true class
_LOCAL_TERMS: dict[str, Callable[[Any, Any], Any]] = {
    "binary_crossentropy": losses.binary_crossentropy,
    "crossentropy": _crossentropy,
    "background_focal": _background_focal,
    "weighted_crossentropy": _weighted_crossentropy,
}
# over the whole batch, (…, C) -> ()
_REGION_TERMS: dict[str, Callable[[Any, Any], Any]] = {
    "dice": _dice,
    "background_dice": _background_dice,
    "focal_of_mean": _focal_of_mean,
    "flat_tversky": _flat_tversky,
}

LOSSES: dict[str, dict[str, float]] = {
    "binary_crossentropy": {"binary_crossentropy": 1},
    "categorical_crossentropy": {"crossentropy": 1},
    "background_dice_focal": {"background_dice": 1, "background_focal": 1},
    "combo": {"weighted_crossentropy": 0.4, "focal_of_mean": 0.2, "flat_tversky": 0.4},
    "crossentropy_dice": {"crossentropy": 1, "dice": 1},
}
"""The terms of each loss with their factors. `background_dice_focal` and `combo` are the study's."""


@keras.saving.register_keras_serializable("covbench")
class SumOfTerms(losses.Loss):
    """The sum of the terms of LOSSES[name], in float32 whatever the dtype policy: a float16 sum over 512 x 512 is inf.

    class_weights: float, (C,), factors of the terms that are counted per sample or pixel, by its true class. Terms of a
        whole batch (Dice, Tversky, the focal loss of the mean) take no weights.

    A class that is absent from a batch adds a constant 1 / C to `dice`, and no gradient.
    """

    def __init__(
        self,
        name: str,
        class_weights: Sequence[float] | None = None,
        reduction: str = "sum_over_batch_size",
        dtype: str = "float32",
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.class_weights = None if class_weights is None else [float(weight) for weight in class_weights]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss per sample or pixel, (...). Region terms add the same number to each."""
        terms = LOSSES[self.name]
        local = [by * _LOCAL_TERMS[term](y_true, y_pred) for term, by in terms.items() if term in _LOCAL_TERMS]
        region = [by * _REGION_TERMS[term](y_true, y_pred) for term, by in terms.items() if term in _REGION_TERMS]
        total = sum(local[1:], start=local[0])
        if self.class_weights is not None:
            total = total * ops.sum(y_true * ops.convert_to_tensor(self.class_weights, dtype=self.dtype), axis=-1)
        return sum(region, start=total)

    def get_config(self) -> dict[str, Any]:
        """Return what a saved model needs to rebuild the loss."""
        return {**super().get_config(), "class_weights": self.class_weights}


def build_loss(name: str, class_weights: Sequence[float] | None = None) -> losses.Loss:
    """Build a loss of LOSSES, which a saved model restores on its own.

    class_weights: (C,), as SumOfTerms takes them; None weighs all classes equally.

    Raises CovbenchError for an unknown name.
    """
    if name not in LOSSES:
        near = get_close_matches(name, LOSSES, n=3, cutoff=0.4) or list(LOSSES)
        raise CovbenchError(f"loss: unknown {name!r}; nearest known: {', '.join(near)}")
    return SumOfTerms(name, class_weights)
