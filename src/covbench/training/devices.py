"""Find the device that networks run on, and set their precision, with TensorFlow or JAX."""

from __future__ import annotations

from typing import Any

import keras

from covbench.schema import CovbenchError

BFLOAT16_CAPABILITY = (8, 0)
NO_MEMORY = ("RESOURCE_EXHAUSTED", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")


def set_precision(name: str) -> None:
    """Set the precision of every network that is built from now on. `name` is a choice of `precision` in the config.

    Weights, heads, losses and metrics are float32 under every choice. Under `float32`, a GPU computes in float32 too,
    and not in TensorFloat-32, which rounds as float16 does.
    """
    require_capable(name, _compute_capability())
    if not _on_jax():
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(name != "float32")
    keras.config.set_dtype_policy(name)


def rounds_to_tensor_float() -> bool:
    """Whether a GPU may compute float32 in TensorFloat-32, which rounds as float16 does."""
    if _on_jax() or describe_device() == "cpu":
        return False
    import tensorflow as tf

    return bool(tf.config.experimental.tensor_float_32_execution_enabled())


def require_capable(name: str, capability: tuple[int, ...] | None) -> None:
    """Raise CovbenchError if the GPU cannot compute in this precision.

    Args:
        name: a choice of `precision` in the config.
        capability: the GPU's CUDA compute capability, (major, minor); None if there is no GPU.
    """
    if name == "mixed_bfloat16" and capability is not None and capability < BFLOAT16_CAPABILITY:
        shown, needed = (".".join(map(str, version)) for version in (capability, BFLOAT16_CAPABILITY))
        raise CovbenchError(
            f"precision: mixed_bfloat16 needs a GPU of compute capability {needed}, and this one has {shown}; choose "
            "mixed_float16 or float32, or another GPU"
        )


def compute_in_float32(model: keras.Model) -> None:
    """Make a network that was trained in mixed precision, and this process, compute in float32, as its weights are.

    A saved model then gives the same numbers on every machine. On a CPU, float16 would take seven times as long.
    """
    set_precision("float32")
    for layer in model._flatten_layers():
        layer.dtype_policy = "float32"
    model.make_predict_function(force=True)


def describe_device() -> str:
    """Return the name of the GPU, or `cpu`."""
    gpu = _first_gpu()
    if gpu is None:
        return "cpu"
    return gpu.device_kind if _on_jax() else _details(gpu).get("device_name", "gpu")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device ran out of memory: TensorFlow's ResourceExhaustedError, or a message of XLA or CUDA."""
    return "ResourceExhausted" in type(error).__name__ or any(word in str(error) for word in NO_MEMORY)


def _on_jax() -> bool:
    return keras.backend.backend() == "jax"


def _first_gpu() -> Any:
    """Return TensorFlow's or JAX's object for the first GPU; None if there is none."""
    if _on_jax():
        import jax

        return next((device for device in jax.devices() if device.platform == "gpu"), None)
    import tensorflow as tf

    return next(iter(tf.config.list_physical_devices("GPU")), None)


def _details(gpu: Any) -> dict[str, Any]:
    import tensorflow as tf

    return tf.config.experimental.get_device_details(gpu)


def _compute_capability() -> tuple[int, ...] | None:
    gpu = _first_gpu()
    if gpu is None:
        return None
    if _on_jax():
        return tuple(int(part) for part in gpu.compute_capability.split("."))
    return _details(gpu).get("compute_capability", (0, 0))
