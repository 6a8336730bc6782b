"""Raw data under DVC: a .dvc file per fetched dataset, once its files are verified."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from covbench.data.datasets import DATASETS
from covbench.data.sources.manifests import build_manifest, manifest_path, read_first_manifest, require_same_files
from covbench.experiment.config import read_config
from covbench.experiment.plan import planned_datasets
from covbench.schema import Card, CovbenchError, KaggleCompetition, Synthetic

HELP = """\
Put every fetched dataset of the config under DVC: data/raw/{dataset}.dvc and data/raw/{dataset}.manifest.json.dvc.

Each file is compared with the sha256 that the manifest has of it first. The .dvc files hold hashes only and may be
committed. `dvc push` copies the images themselves: push to a remote that others read only what its licence, printed
here, lets you pass on. The data of a competition are left out unless you say that its rules allow it: --accept.
"""
EXAMPLES = """\
examples:
  python -m covbench.operations.dvc_raw_data                        what the config plans and data/raw holds
  python -m covbench.operations.dvc_raw_data --accept medseg        the competition's data too
  git add data/raw/*.dvc && git commit                 then: dvc push
"""


def find_obstacle(name: str, card: Card, raw: Path, accepted: Collection[str]) -> str:
    """Why a dataset is not put under DVC; empty: nothing is in the way."""
    if all(isinstance(source, Synthetic) for source in card.sources):
        return "draws itself, nothing to keep"
    if not manifest_path(raw).is_file():
        return f"not fetched yet: snakemake --cores 1 {manifest_path(raw)}"
    if any(isinstance(source, KaggleCompetition) for source in card.sources) and name not in accepted:
        return f"data of a competition ({card.licence}); if its rules allow it: --accept {name}"
    return ""


def verify_raw(raw: Path) -> int:
    """Compare every file of a fetched dataset with its manifest; returns their number, raises CovbenchError."""
    manifest = build_manifest(raw, f"the folder {raw} as it lies there")
    if read_first_manifest(raw) is None:
        raise CovbenchError(f"{manifest_path(raw)}: no manifest; fetch again")
    require_same_files(raw, manifest)
    return len(manifest["files"])


def version_raw(datasets: Sequence[str], root: Path, accepted: Collection[str]) -> None:
    """Verify each fetched dataset below `root`/data/raw and add it to DVC; says for each what was done, or why not."""
    for name in datasets:
        card, raw = DATASETS[name].CARD, Path("data/raw") / name
        if obstacle := find_obstacle(name, card, root / raw, accepted):
            print(f"{name}: {obstacle}")
            continue
        files = verify_raw(root / raw)
        command = [sys.executable, "-m", "dvc", "add", "--quiet", str(raw), str(manifest_path(raw))]
        if subprocess.run(command, cwd=root).returncode:
            raise CovbenchError(f"{name}: dvc add failed, see above")
        print(f"{name}: {files} files verified, {raw}.dvc written; licence: {card.licence}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m covbench.operations.dvc_raw_data`; see its --help."""
    parser = argparse.ArgumentParser(
        "python -m covbench.operations.dvc_raw_data",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--configfile", type=Path, metavar="FILE", help="as for snakemake; without: config/config.yaml")
    parser.add_argument(
        "--accept", nargs="+", default=(), metavar="DATASET", help="competition data that you may keep under DVC"
    )
    options = parser.parse_args(arguments)
    try:
        version_raw(planned_datasets(read_config(options.configfile)), Path(), options.accept)
    except CovbenchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
