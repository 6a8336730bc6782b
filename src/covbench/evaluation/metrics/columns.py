"""The columns of a segmentation's cases that hold outlines, single lesions and sizes of volumes, at native spacing."""

from __future__ import annotations

TOLERANCES = (1, 3)
"""Millimetres: of the two for which Ma et al. (2021, Med. Phys. 48:1197) score lungs and lesions."""
SURFACES = (*(f"surface_dice_{tolerance}mm" for tolerance in TOLERANCES), "hd95", "assd")
SHAPES = (*SURFACES, "detection_f1")
SLICE_SHAPES = tuple(f"{name}_lesion" for name in SHAPES)
VOLUME_SHAPES = tuple(f"{name}_volume" for name in SLICE_SHAPES)
MILLILITRES = ("true_ml", "predicted_ml")
PERCENTS = ("true_percent", "predicted_percent")
SIZES = (*MILLILITRES, *PERCENTS)
SHAPE_COLUMNS = (*SLICE_SHAPES, *VOLUME_SHAPES, *SIZES)
"""Columns of the cases. Those of volumes have a value in the row of the first slice of each whole volume."""
