"""Indexes, thumbnails and duplicates -> how well the datasets of one modality are told apart by their look."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from pathlib import Path

import pandas as pd

from covbench.audit.dataset_probe import ProbedDataset, probe_datasets
from covbench.audit.tables import AUDIT_TABLES
from covbench.audit.thumbnails import read_thumbnails
from covbench.data.datasets import DATASETS
from covbench.evaluation.comparison.shortcut_scores import tabulate_probe
from covbench.system.files import write_table
from covbench.system.stage_files import check_files, seal_files

check_files(snakemake.input)
indexes, thumbnails = ({Path(path).stem: path for path in snakemake.input[name]} for name in ("indexes", "thumbnails"))
duplicates = {(Path(path).parent.name, Path(path).stem): path for path in snakemake.input.duplicates}
rows = []
for modality in sorted({DATASETS[name].CARD.modality for name in indexes}):
    names = sorted(name for name in indexes if DATASETS[name].CARD.modality == modality)
    if len(names) > 1:
        shared = {pair: pd.read_parquet(path) for pair, path in duplicates.items() if set(pair) <= set(names)}
        probed = [
            ProbedDataset(name, pd.read_parquet(indexes[name]), read_thumbnails(thumbnails[name])) for name in names
        ]
        rows.append({"modality": modality, **tabulate_probe(probe_datasets(probed, shared), names)})
write_table(snakemake.output[0], pd.DataFrame(rows, columns=list(AUDIT_TABLES["datasets"])))
seal_files(snakemake.output)
