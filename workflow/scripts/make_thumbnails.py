"""An index -> its usable images as small pictures with perceptual hashes."""

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

from pathlib import Path

import pandas as pd

from covbench.audit.duplicates import SIDE
from covbench.audit.thumbnails import make_thumbnails, write_thumbnails
from covbench.system.stage_files import check_files, seal_files

check_files(snakemake.input)
raw = Path("data/raw") / snakemake.wildcards.dataset
write_thumbnails(snakemake.output[0], make_thumbnails(pd.read_parquet(snakemake.input.index), raw, SIDE))
seal_files(snakemake.output)
