"""Put raw data under DVC: a .dvc file for each fetched dataset whose files are verified."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from covbench.data.datasets import DATASETS
from covbench.data.sources.manifests import build_manifest, manifest_path, read_first_manifest, require_same_files
from covbench.experiment.shapes import suggest
from covbench.schema import Card, CovbenchError, KaggleCompetition

HELP = """\
Put every fetched dataset of the config under DVC: data/raw/{dataset}.dvc and data/raw/{dataset}.manifest.json.dvc.

Each file is first compared with its sha256 in the manifest. The .dvc files hold only hashes and may be committed.
`dvc push` copies the images themselves. To a remote that others can read, push only data whose licence, printed here,
lets you pass them on. The data of a competition are left out unless you say that its rules allow it: --accept.
"""
EXAMPLES = """\
examples:
  covbench add-raw-data                        every dataset that the config plans and data/raw holds
  covbench add-raw-data --accept medseg        the competition's data too
  git add data/raw/*.dvc && git commit         then: dvc push
"""


def find_obstacle(name: str, card: Card, raw: Path, accepted: Collection[str]) -> str:
    """Find the reason why a dataset is not put under DVC.

    Args:
        name: Name of the dataset.
        card: Its card.
        raw: Its folder, data/raw/{name}.
        accepted: Names of the competition datasets whose rules allow a copy under DVC.

    Returns:
        The reason; empty if there is none.
    """
    if card.synthetic:
        return "synthetic, nothing to keep"
    if not manifest_path(raw).is_file():
        return f"not fetched yet: snakemake --cores 1 {manifest_path(raw)}"
    if any(isinstance(source, KaggleCompetition) for source in card.sources) and name not in accepted:
        return f"data of a competition ({card.licence}); if its rules allow it: --accept {name}"
    return ""


def verify_raw(raw: Path) -> int:
    """Compare every file of a fetched dataset with its manifest, and return the number of files.

    Raises CovbenchError if the manifest is missing or a file differs.
    """
    manifest = build_manifest(raw, f"the folder {raw} as it is now")
    if read_first_manifest(raw) is None:
        raise CovbenchError(f"{manifest_path(raw)}: no manifest; fetch again")
    require_same_files(raw, manifest)
    return len(manifest["files"])


def version_raw(datasets: Sequence[str], root: Path, accepted: Collection[str]) -> None:
    """Verify each fetched dataset below `root`/data/raw and add it to DVC. Prints what was done, or why not.

    Args:
        datasets: Names of the planned datasets.
        root: The folder that holds data/.
        accepted: Names of the competition datasets whose rules allow a copy under DVC.

    Raises:
        CovbenchError: An accepted dataset is not planned, a file differs from its manifest, or DVC fails.
    """
    for name in accepted:
        if name not in datasets:
            raise CovbenchError(f"--accept {name}: no planned dataset; {suggest(name, datasets)}")
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
