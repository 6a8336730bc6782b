"""An index and prepared images -> their lungs, as shipped or as a classical segmentation finds them, and lesions."""

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

from pathlib import Path

import numpy as np
import pandas as pd

from covbench.data.datasets import dataset_of
from covbench.data.lesions import prepare_lesions
from covbench.data.lungs import prepare_lungs
from covbench.system.files import write_arrays, write_table, write_whole
from covbench.system.stage_files import check_files, seal_files

i, output = snakemake.input, snakemake.output
check_files(i)
task = snakemake.wildcards.task
masks = np.load(i.masks[0], mmap_mode="r") if i.masks else None
raw = Path("data/raw") / dataset_of(task)
index = pd.read_parquet(i.index)
lungs, table = prepare_lungs(task, index, raw, np.load(i.images, mmap_mode="r"), masks)
with write_whole(output.lungs) as temporary:
    np.save(temporary, lungs)
write_table(output.facts, table)
write_arrays(output.lesions, prepare_lesions(task, index, raw, lungs.shape[1]))
seal_files(output)
