"""Check before the first job what could stop a benchmark: a line for each finding, with the remedy."""

from __future__ import annotations

import codecs
import configparser
import importlib.metadata
import locale
import os
import platform
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from covbench.data.datasets import DATASETS
from covbench.data.sources.kaggle_archive import KAGGLE, find_credentials
from covbench.data.sources.manifests import manifest_path
from covbench.data.sources.mirrors import find_in_mirror
from covbench.data.sources.origins import name_source
from covbench.data.sources.pretrained_weights import find_origin, list_substitutes
from covbench.experiment.code_fingerprint import read_lock
from covbench.experiment.plan import PlannedRun, planned_datasets
from covbench.experiment.provenance import find_unlocked
from covbench.operations.forecast import forecast_trainings, sum_disk
from covbench.operations.mlflow.store import SQLITE, database_path
from covbench.operations.slurm import find_misplaced, list_accounts, list_partitions, read_cluster
from covbench.schema import Card, CovbenchError, Kaggle, KaggleCompetition
from covbench.system.addresses import show_address
from covbench.system.disk import show_bytes
from covbench.system.files import PROJECT
from covbench.system.gpu_leases import list_gpus
from covbench.system.ownership import require_own_folder

HELP = """\
Check what could stop the benchmark, before the first job: one line per finding, with the remedy.

  data      every planned dataset: fetched already, in the mirror, or Kaggle credentials to download it
  weights   every pretrained weight file: here already, in the mirror, or which host it comes from
  disk      free space against the forecast of results and checkpoints
  gpu       GPUs of this machine against --gpus; with a SLURM profile, the cluster's partitions and your account
  mlflow    the store of tracking.uri: a folder that can be written, or a server that answers
  dvc       where DVC keeps notes that it trusts: a folder that no other user can enter
  system    locale, Python, versions of the locked packages

Each line begins with ok, warning or problem. The command ends with 1 if there is a problem, otherwise with 0. Nothing
is downloaded, and no secret is shown. Give the same options as to snakemake.
"""
EXAMPLES = """\
examples:
  covbench doctor --configfile config/demo.yaml --directory demo
  covbench doctor --gpus 4                               before snakemake --resources gpu=4
  covbench doctor --workflow-profile profiles/slurm      the cluster of config/cluster.yaml too
"""

OK, WARNING, PROBLEM = "ok", "warning", "problem"
ANSWER_SECONDS = 5
SIGN_IN = f"save an API token of {KAGGLE}/settings as ~/.kaggle/kaggle.json, or set fetch.mirror"
DVC_SITE_CACHE = "/var/tmp/dvc"  # DVC's default; it makes the folders in it for all users to write
MLFLOW_QUERY = "/api/2.0/mlflow/experiments/search?max_results=1"


@dataclass(frozen=True)
class Finding:
    """What a check has found: its level (ok, warning or problem), its subject, and a sentence with the remedy."""

    level: str
    subject: str
    message: str


def examine(
    config: Mapping[str, Any], plan: Sequence[PlannedRun], root: Path, gpus: int, profile: Path | None = None
) -> list[Finding]:
    """Run all checks.

    Args:
        config: Checked, with defaults.
        plan: Of the same config, as experiment.plan.plan_runs.
        root: The folder that holds data/ and results/, or will hold them.
        gpus: As in snakemake --resources gpu=N.
        profile: Folder of a Snakemake profile. With a SLURM profile, the cluster is checked instead of local GPUs.

    Returns:
        The findings, in the order in which HELP lists the subjects.
    """
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "data": lambda: check_datasets(config, root),
        "weights": lambda: check_weights(config, plan, root),
        "disk": lambda: check_disk(plan, root, gpus),
        "gpu": lambda: check_slurm() if profile and _uses_slurm(profile) else check_gpus(gpus),
        "mlflow": lambda: check_mlflow(config["tracking"]["uri"], root),
        "dvc": check_dvc,
        "system": check_system,
    }
    return [finding for subject, check in checks.items() for finding in _catch(subject, check)]


def _catch(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield the findings of a check. If an error stops the check, the error is the last finding."""
    try:
        yield from check()
    except CovbenchError as error:
        yield Finding(PROBLEM, subject, " ".join(str(error).split()))


def show_findings(findings: Sequence[Finding]) -> str:
    """Show a line for each finding, and the number of problems and warnings."""
    width = max((len(finding.subject) for finding in findings), default=0)
    lines = [f"{finding.level:7}  {finding.subject:{width}}  {finding.message}" for finding in findings]
    counts = [sum(finding.level == level for finding in findings) for level in (PROBLEM, WARNING)]
    return "\n".join([*lines, "", f"problems: {counts[0]}, warnings: {counts[1]}"])


def check_datasets(config: Mapping[str, Any], root: Path) -> Iterator[Finding]:
    """Find out where each planned dataset is, or will come from. `root` is the folder that holds data/."""
    mirror = config["fetch"]["mirror"]
    for name in planned_datasets(config):
        try:
            level, message = _find_dataset(name, DATASETS[name].CARD, root, root / mirror if mirror else None)
        except CovbenchError as error:
            level, message = PROBLEM, str(error)
        yield Finding(level, f"data {name}", message)


def _find_dataset(name: str, card: Card, root: Path, mirror: Path | None) -> tuple[str, str]:
    raw = root / "data" / "raw" / name
    if manifest_path(raw).is_file() and raw.is_dir():
        return OK, f"fetched already: {raw}"
    if card.synthetic:
        return OK, "synthetic: made here, nothing is downloaded"
    if mirror:
        return OK, f"in the mirror: {find_in_mirror(card, mirror)}"
    sources = ", ".join(name_source(source) for source in card.all_sources)
    if not any(isinstance(source, Kaggle | KaggleCompetition) for source in card.sources):
        return OK, f"will be downloaded: {sources}"
    credentials = find_credentials()
    if not credentials:
        return PROBLEM, f"{sources}: no Kaggle credentials; {SIGN_IN}"
    rules = [source.competition for source in card.sources if isinstance(source, KaggleCompetition)]
    if rules:
        return WARNING, f"{sources}: accept its rules first, if you have not: {KAGGLE}/competitions/{rules[0]}/rules"
    return OK, f"will be downloaded with the credentials of {credentials}: {sources}"


def check_weights(config: Mapping[str, Any], plan: Sequence[PlannedRun], root: Path) -> Iterator[Finding]:
    """Find out where the pretrained weight files are, or will come from.

    Args:
        config: Checked, with defaults.
        plan: Of the same config.
        root: The folder that holds data/.

    Yields:
        A finding per origin with the names of its files, and one per file that cannot be found.
    """
    paths = sorted({Path(run.inputs.weights) for run in plan if run.inputs.weights})
    if not paths:
        yield Finding(OK, "weights", "none needed")
        return
    mirror = config["weights"]["mirror"]
    origins: dict[str, list[str]] = {}
    for path in paths:
        if (root / path).is_file():
            origins.setdefault(f"here already, in {root / path.parent}", []).append(path.name)
            continue
        try:
            origin = find_origin(path.name, root / mirror if mirror else None)
        except CovbenchError as error:
            yield Finding(PROBLEM, f"weights {path.name}", str(error))
            continue
        host = urlsplit(origin).hostname
        where = f"will be downloaded from {host}" if host else f"in the mirror {Path(origin).parent}"
        origins.setdefault(where, []).append(path.name)
    for where, names in origins.items():
        yield Finding(OK, "weights", f"{len(names)} of {len(paths)} files {where}: {', '.join(names)}")
    for weights in list_substitutes():
        if weights.file in {path.name for path in paths}:
            yield Finding(WARNING, f"weights {weights.file}", f"not the published file: {weights.note}")


def check_disk(plan: Sequence[PlannedRun], root: Path, at_once: int) -> Iterator[Finding]:
    """Compare the free disk space with the forecast.

    Args:
        plan: As experiment.plan.plan_runs.
        root: The folder that holds data/ and results/.
        at_once: Number of runs that train at the same time.

    Yields:
        One finding.
    """
    if not os.access(root, os.W_OK | os.X_OK):
        yield Finding(PROBLEM, "disk", f"{root.resolve()} cannot be written; choose another --directory")
        return
    lines = forecast_trainings(plan, root, 0)
    results, scratch = sum_disk(lines, at_once)
    needed, free = (results + scratch) * 2**20, shutil.disk_usage(root).free
    room = f"{show_bytes(free)} free at {root.resolve()}"
    unknown = sum(line.runs for line in lines if line.cost is None)
    if needed > free:
        yield Finding(
            PROBLEM,
            "disk",
            f"the trainings still to do need {show_bytes(needed)}, {room}; free {show_bytes(needed - free)}, or give a "
            "--directory on a larger disk",
        )
    elif unknown:
        trainings = sum(line.runs for line in lines)
        others = f", the others need {show_bytes(needed)}" if unknown < trainings else ""
        part = f"{unknown} of {trainings} trainings have no forecast yet{others}; run covbench forecast"
        yield Finding(WARNING, "disk", f"{room}; {part}")
    else:
        yield Finding(OK, "disk", f"{room}; the trainings still to do need {show_bytes(needed)}")


def check_gpus(wanted: int) -> Iterator[Finding]:
    """Compare the GPUs of this machine with --gpus, and check whether TensorFlow can use them."""
    found = len(list_gpus())
    if not found:
        yield Finding(WARNING, "gpu", "nvidia-smi lists none: networks train on the CPU; see covbench forecast")
        return
    if found < wanted:
        yield Finding(WARNING, "gpu", f"{found} here, but --gpus {wanted}: jobs will wait; use gpu={found}")
    else:
        yield Finding(OK, "gpu", f"{found} here, {wanted} used at once")
    if _is_installed("tensorflow-cpu"):
        yield Finding(WARNING, "gpu", "tensorflow-cpu uses no GPU; pip install --require-hashes -r envs/gpu.txt")


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _uses_slurm(profile: Path) -> bool:
    path = profile / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CovbenchError(f"{path}: no Snakemake profile ({error})") from error
    return isinstance(values, dict) and values.get("executor") == "slurm"


def check_slurm(cluster_file: Path = PROJECT / "config" / "cluster.yaml") -> Iterator[Finding]:
    """Compare the partitions, GPU models and account of the cluster file with those of the cluster."""
    cluster = read_cluster(cluster_file)
    partitions = list_partitions()
    misplaced = find_misplaced(cluster, partitions)
    for mistake in misplaced:
        yield Finding(PROBLEM, "gpu slurm", f"{cluster_file}: {mistake}")
    if not misplaced:
        cpu, gpu = (cluster[kind].get("partition", "the default partition") for kind in ("cpu", "gpu"))
        yield Finding(OK, "gpu slurm", f"jobs go to {cpu}, those with a GPU to {gpu}")
    if "account" in cluster:
        yield _find_account(cluster["account"], cluster_file)


def _find_account(account: str, cluster_file: Path) -> Finding:
    try:
        accounts = list_accounts()
    except CovbenchError as error:
        return Finding(WARNING, "gpu slurm", f"the account {account} cannot be checked: {error}")
    if account in accounts:
        return Finding(OK, "gpu slurm", f"account: {account}")
    known = ", ".join(accounts) or "none"
    return Finding(PROBLEM, "gpu slurm", f"{cluster_file}: account: {account!r} is not yours; yours: {known}")


def check_mlflow(uri: str, root: Path) -> Iterator[Finding]:
    """Check that the store can be written, or that its server answers. Relative paths start at `root`."""
    if not uri.startswith(SQLITE):
        yield _ask_server(uri)
        return
    database = root / database_path(uri)
    existing = next(path for path in (database, *database.parents) if path.exists())
    if os.access(existing, os.W_OK):
        yield Finding(OK, "mlflow", f"{database}: can be written")
    else:
        yield Finding(PROBLEM, "mlflow", f"{existing} cannot be written; change its mode, or tracking.uri")


def _ask_server(uri: str) -> Finding:
    """Ask the server for one experiment, as MLflow's client does, with the credentials from the environment if any."""
    shown = show_address(uri)
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    user, password = (os.environ.get(name, "") for name in names)
    try:
        answer = requests.get(
            uri.rstrip("/") + MLFLOW_QUERY, auth=(user, password) if user else None, timeout=ANSWER_SECONDS
        )
    except requests.RequestException as error:
        reason = type(error).__name__
        return Finding(PROBLEM, "mlflow", f"{shown} does not answer ({reason}); start the server, or fix tracking.uri")
    if answer.status_code in (401, 403):
        return Finding(PROBLEM, "mlflow", f"{shown} refuses you (HTTP {answer.status_code}); set {' and '.join(names)}")
    if answer.status_code != 200 or not answer.headers.get("Content-Type", "").startswith("application/json"):
        return Finding(PROBLEM, "mlflow", f"{shown} answers HTTP {answer.status_code}, not as MLflow; fix tracking.uri")
    return Finding(OK, "mlflow", f"{shown} answers")


def check_dvc(project: Path = PROJECT) -> Iterator[Finding]:
    """Check that no other user can write to DVC's site cache, whose content DVC unpickles."""
    cache = _find_site_cache(project)
    try:
        require_own_folder(cache)
    except CovbenchError as error:
        own = project / ".dvc" / "private"
        remedy = (
            f"mkdir -p -m 700 {shlex.quote(str(own))}; dvc config --local core.site_cache_dir {shlex.quote(str(own))}"
        )
        yield Finding(WARNING, "dvc", f"{error}; before you use DVC on a shared machine: {remedy}")
    else:
        yield Finding(OK, "dvc", f"{cache}: nobody else can enter")


def _find_site_cache(project: Path) -> Path:
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    settings.read([project / ".dvc" / name for name in ("config", "config.local")], encoding="utf-8")
    configured = settings.get("core", "site_cache_dir", fallback=DVC_SITE_CACHE)
    return Path(os.environ.get("DVC_SITE_CACHE_DIR") or configured)


def check_system() -> Iterator[Finding]:
    """Check the locale, Python and the installed packages."""
    encodings = {locale.getpreferredencoding(False), sys.stdout.encoding or "utf-8"}
    foreign = sorted(name for name in encodings if codecs.lookup(name).name != "utf-8")
    if foreign:
        names = ", ".join(foreign)
        yield Finding(WARNING, "locale", f"{names}: some characters are shown as plain ones; export LC_ALL=C.UTF-8")
    else:
        yield Finding(OK, "locale", "UTF-8")
    version, wanted = platform.python_version(), _read_project()["requires-python"]
    if version in SpecifierSet(wanted):
        yield Finding(OK, "python", version)
    else:
        yield Finding(PROBLEM, "python", f"{version}; covbench needs 3.11 to 3.13; make a new .venv with one of these")
    yield from check_packages(read_lock())


def _read_project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def check_packages(lock: Mapping[str, str]) -> Iterator[Finding]:
    """Check that the packages that covbench names are installed as locked. `lock` maps distributions to versions."""
    named = [Requirement(text).name for text in _read_project()["dependencies"]]
    pins = {name: lock[name] for name in [*named, "tensorflow"] if name in lock}
    unlocked = find_unlocked(pins)
    for name, versions in unlocked.items():
        level = PROBLEM if versions["installed"] == "none" else WARNING
        yield Finding(
            level,
            "packages",
            f"{name}: installed {versions['installed']}, locked {versions['locked']}; "
            "pip install --require-hashes -r envs/cpu.txt",
        )
    if not unlocked:
        yield Finding(OK, "packages", f"{len(pins)} as locked")
