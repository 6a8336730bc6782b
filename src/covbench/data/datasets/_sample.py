"""What the samples of the datasets are drawn with: a few files in a dataset's own layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

UPRIGHT = np.diag([-0.7, -0.7, 5.0, 1.0])
"""Affine of a volume whose axes run to the left, to the back and to the head."""


def write_picture(path: Path, seed: int = 0) -> None:
    """A grey picture of noise, 16 x 16, in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (16, 16), dtype=np.uint8)
    Image.fromarray(values).save(path)


def write_volume(path: Path, values: np.ndarray) -> None:
    """A NIfTI file. values: (x, y, slices)."""
    import nibabel as nib  # a third of a second, which every job saves that draws no sample

    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, UPRIGHT), path)
