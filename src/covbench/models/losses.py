"""Loss functions by name, in pure Keras 3: one-hot targets and probabilities, (..., C) each, computed in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import keras
from keras import losses, ops

from covbench.schema import CovbenchError

FOCAL_ALPHA = 0.25  # Lin et al. 2017, arXiv:1708.02002
FOCAL_GAMMA = 2.0
MISSED_WEIGHT = 0.7  # of false negatives; Salehi et al. 2017, arXiv:1706.05721
INVENTED_WEIGHT = 0.3  # of false positives


def _crossentropy(truth: Any, probabilities: Any) -> Any:
    """Return the categorical cross entropy.

    On TensorFlow, Keras takes it from the logits wherever the probabilities are the output of a softmax or sigmoid
    layer: those that it computes in `fit` are never clipped, and two sigmoids are trained as the softmax of their
    logits. The study's TensorFlow 2.4 did the same.
    """
    return losses.categorical_crossentropy(truth, probabilities)


def _focal(truth: Any, probabilities: Any) -> Any:
    return losses.categorical_focal_crossentropy(truth, probabilities, alpha=FOCAL_ALPHA, gamma=FOCAL_GAMMA)


def _dice(truth: Any, probabilities: Any) -> Any:
    return ops.mean(losses.dice(truth, probabilities, axis=_all_but_last(truth)))


def _tversky(truth: Any, probabilities: Any) -> Any:
    """Return the Tversky loss.

    Keras 3.15 documents alpha as the weight of false positives, but multiplies false negatives by it.
    """
    axes = _all_but_last(truth)
    return ops.mean(losses.tversky(truth, probabilities, alpha=MISSED_WEIGHT, beta=INVENTED_WEIGHT, axis=axes))


def _all_but_last(truth: Any) -> tuple[int, ...]:
    return tuple(range(len(truth.shape) - 1))


# per sample or pixel, (…, C) -> (…); may be weighted by the true class
_LOCAL_TERMS: dict[str, Callable[[Any, Any], Any]] = {
    "binary_crossentropy": losses.binary_crossentropy,
    "crossentropy": _crossentropy,
    "focal": _focal,
}
# over the whole batch, one number per class, averaged over the classes: (…, C) -> ()
_REGION_TERMS: dict[str, Callable[[Any, Any], Any]] = {"dice": _dice, "tversky": _tversky}

LOSSES: dict[str, tuple[str, ...]] = {
    "binary_crossentropy": ("binary_crossentropy",),
    "categorical_crossentropy": ("crossentropy",),
    "dice_focal": ("dice", "focal"),
    "crossentropy_focal_tversky": ("crossentropy", "focal", "tversky"),
    "crossentropy_dice": ("crossentropy", "dice"),
}


@keras.saving.register_keras_serializable("covbench")
class SumOfTerms(losses.Loss):
    """The sum of the terms of LOSSES[name], in float32 whatever the dtype policy: a float16 sum over 512 x 512 is inf.

    class_weights: float, (C,), factors of the cross entropy and focal terms of each sample or pixel, by its true class.
        Dice and Tversky are means over the classes and take no weights.

    A class that is absent from a batch adds a constant 1 / C to Dice and Tversky, and no gradient.
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
        local = [_LOCAL_TERMS[term](y_true, y_pred) for term in terms if term in _LOCAL_TERMS]
        region = [_REGION_TERMS[term](y_true, y_pred) for term in terms if term in _REGION_TERMS]
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
