"""Count lesion pixels at native spacing: predicted masks are brought back to the stored grid of their image."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from covbench.data.external import share_labels
from covbench.data.folds import Fold
from covbench.data.resizing import restore_mask
from covbench.schema import CovbenchError, Task


def count_native(test: Fold, lesions: np.ndarray, stored: Path, task: Task) -> pd.DataFrame:
    """Count the lesion pixels of each row of a test fold on the grid of its stored mask.

    One stored mask is in memory at a time.

    Args:
        test: the fold, with R rows.
        lesions: uint8, (R, h, w), 1 where a lesion is predicted.
        stored: native_masks.npz of the fold's task, as data.prepare.prepare_native_masks writes it.
        task: the fold's task.

    Returns:
        int64, a row per image: pixels that are true and predicted (`both`), `true`, and `predicted`.

    Raises:
        CovbenchError: The file is damaged or belongs to another index.
    """
    is_lesion, counts = share_labels(task), np.zeros((len(test), 3), np.int64)
    try:
        with np.load(stored) as masks:
            for row, position in enumerate(test.positions):
                mask = is_lesion[masks[str(position)]]
                true = np.asarray(test.show(row, mask, mask)[1])
                guess = restore_mask(lesions[row], mask.shape)
                counts[row] = np.count_nonzero(true & guess), np.count_nonzero(true), np.count_nonzero(guess)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise CovbenchError(f"{stored}: {error}; delete it and start snakemake, which prepares it again") from error
    return pd.DataFrame(counts, columns=["both", "true", "predicted"])
