"""What reducing the real masks to 256 pixels loses, as docs/explanation/protocols.md states it."""

import numpy as np
import pytest

from covbench.data.datasets import TASKS
from covbench.data.external import share_labels
from covbench.data.inspection import image_orientation
from covbench.data.masks import read_mask
from covbench.data.resizing import resize_mask

from .test_index import SAMPLES, index_sample

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/data is not here")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), [("zenodo", "zenodo_infection"), ("medseg", "medseg_multiclass")])
def test_no_lesion_is_lost_and_their_area_stays(name, task):
    raw, table = index_sample(name)
    is_lesion = share_labels(TASKS[task])
    stored, kept = [], []
    for row in table[~table["excluded"]].to_dict("records"):
        names, orientation = TASKS[task].classes, image_orientation(row, raw)
        mask = read_mask(raw / row["mask"], row["frame"], row["mask_values"], names, orientation)
        stored.append(is_lesion[mask].sum())
        kept.append(is_lesion[resize_mask(mask, 256)].sum() * mask.size / 256**2)
    stored, kept = np.array(stored, float), np.array(kept)
    assert (kept[stored > 0] > 0).all()
    assert kept.sum() / stored.sum() == pytest.approx(1, abs=1e-3)
    small = (stored > 0) & (stored < 200)
    assert not small.any() or (kept[small] / stored[small]).mean() == pytest.approx(0.935, abs=0.002)
