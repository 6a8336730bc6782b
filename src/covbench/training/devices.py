"""Find the device that networks run on, and choose their precision, with TensorFlow or JAX."""

from __future__ import annotations

from typing import Any

import keras

NO_MEMORY = ("RESOURCE_EXHAUSTED", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")


def set_precision(name: str) -> str:
    """Set the precision of every network that is built from now on. `name` is a choice of `precision` in the config.

    Returns the dtype policy. Weights, heads, losses and metrics are float32 under every policy.
    """
    resolved = resolve_precision(name, _compute_capability())
    keras.config.set_dtype_policy(resolved)
    return resolved


def resolve_precision(name: str, capability: tuple[int, ...] | None) -> str:
    """Choose the dtype policy of `auto`: bfloat16 on GPUs from Ampere on, float16 on older GPUs, float32 on a CPU.

    capability: the GPU's CUDA compute capability, (major, minor); None if there is no GPU.
    """
    if name != "auto":
        return name
    if capability is None:
        return "float32"
    return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"


def compute_in_float32(model: keras.Model) -> None:
    """Make a network that was trained in mixed precision compute in float32, as its weights already are.

    A saved model then gives the same numbers on every machine. On a CPU, float16 would take seven times as long.
    """
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
