"""Download Kaggle datasets and competitions through the `kaggle` package, and explain its failures in words."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import requests

from covbench.data.sources.downloads import FETCH_REMEDY, TryAgain, check_status, with_retries
from covbench.schema import CovbenchError, Kaggle, KaggleCompetition
from covbench.system.disk import require_space

log = logging.getLogger(__name__)

KAGGLE = "https://www.kaggle.com"
HOW_TO_SIGN_IN = (
    f"sign in at {KAGGLE}/settings, create an API token, and save it as ~/.kaggle/kaggle.json (mode 600) or "
    "~/.kaggle/access_token, or set KAGGLE_USERNAME and KAGGLE_KEY, or KAGGLE_API_TOKEN; without an account, "
    "set fetch.mirror to a folder that holds the dataset"
)


def download_from_kaggle(source: Kaggle | KaggleCompetition, downloads: Path) -> Path:
    """Download the one archive of a dataset or competition into `downloads`. The package resumes a partial file.

    Raises CovbenchError if credentials are missing or wrong, the rules are not accepted, the name is unknown, there are
    too many requests, or there is no network.
    """
    folder = downloads / (f"kaggle-{source.version}" if isinstance(source, Kaggle) else "kaggle")
    folder.mkdir(parents=True, exist_ok=True)
    api = _sign_in()
    if isinstance(source, Kaggle):
        fetch, page = api.dataset_download_files, f"{KAGGLE}/datasets/{source.dataset}"
        arguments: dict[str, Any] = {"dataset": f"{source.dataset}/{source.version}"}
    else:
        fetch, page = api.competition_download_files, f"{KAGGLE}/competitions/{source.competition}"
        arguments = {"competition": source.competition}
    _call(lambda: fetch(**arguments, path=str(folder), quiet=False), page)
    archives = [path for path in folder.iterdir() if path.suffix != ".kaggle-partial"]
    if len(archives) != 1:
        raise CovbenchError(f"{folder}: expected one archive, found {len(archives)}; delete the folder")
    return archives[0]


def find_credentials() -> str:
    """Where the `kaggle` package would find credentials: a file, or a variable; empty if there are none.

    The order is the package's own: access token, API key, then what `kaggle auth login` saved. Nothing is sent, so
    credentials that have expired are found too. Raises CovbenchError for a kaggle.json that is not valid.
    """
    if os.environ.get("KAGGLE_API_TOKEN"):
        return "KAGGLE_API_TOKEN"
    home = Path("~/.kaggle").expanduser()
    for token in (home / "access_token", home / "access_token.txt"):
        if token.is_file() and token.read_text(encoding="utf-8").strip():
            return str(token)
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        return "KAGGLE_USERNAME and KAGGLE_KEY"
    elsewhere = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "kaggle"
    folder = Path(os.environ.get("KAGGLE_CONFIG_DIR") or (home if home.exists() else elsewhere))
    keys = (folder / "kaggle.json", ("username", "key")), (home / "credentials.json", ("refresh_token",))
    return next((str(file) for file, names in keys if file.is_file() and _has_all(file, names)), "")


def _has_all(file: Path, names: Sequence[str]) -> bool:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CovbenchError(f"{file}: cannot be read as JSON; {HOW_TO_SIGN_IN}") from error
    return isinstance(values, dict) and all(values.get(name) for name in names)


def _sign_in() -> Any:
    """Return a KaggleApi with credentials.

    The package prints help and exits if there are none, even on import.
    """
    api = _make_api()

    def authenticate() -> None:
        with redirect_stdout(io.StringIO()):
            api.authenticate()

    try:
        _call(authenticate, KAGGLE)
    except SystemExit as error:
        raise CovbenchError(f"no Kaggle credentials, or they are no longer valid: {HOW_TO_SIGN_IN}") from error
    return api


def _make_api() -> Any:
    """Return the package's client, extended to check for free space before it downloads."""
    try:
        with redirect_stdout(io.StringIO()):
            from kaggle.api.kaggle_api_extended import KaggleApi
    except OSError as error:
        raise CovbenchError(
            f"the kaggle package cannot make its folder ({error}); set KAGGLE_CONFIG_DIR to a writable folder"
        ) from error

    class SpaceMindingApi(KaggleApi):  # type: ignore[misc]
        def download_file(self, response: requests.Response, outfile: str, *args: Any, **kwargs: Any) -> None:
            file = Path(outfile)
            received = file.stat().st_size if file.is_file() else 0
            require_space(file.parent, int(response.headers.get("Content-Length", 0)) - received, file.name)
            super().download_file(response, outfile, *args, **kwargs)

    api = SpaceMindingApi()
    api.args = []  # otherwise $VERBOSE makes it print the key
    return api


def _call(fetch: Callable[[], Any], page: str) -> None:
    """Call the package, with its output on stderr and its errors as CovbenchError."""

    def attempt() -> None:
        try:
            with redirect_stdout(sys.stderr):
                fetch()
        except requests.HTTPError as error:
            raise _translate(error, page) from None  # the original contains a signed address
        except ValueError as error:  # its size check
            raise TryAgain(str(error)) from error

    with_retries(attempt, page, FETCH_REMEDY)


def _translate(error: requests.HTTPError, page: str) -> Exception:
    status = error.response.status_code if error.response is not None else 0
    if status == 401:
        return CovbenchError(f"{page}: Kaggle refuses the credentials (HTTP 401): {HOW_TO_SIGN_IN}")
    if status == 403:
        rules = f"accept the rules at {page}/rules" if "/competitions/" in page else f"accept its terms at {page}"
        return CovbenchError(
            f"{page}: Kaggle refuses this account (HTTP 403): {rules} and verify your phone at {KAGGLE}/settings, "
            "then run again"
        )
    if status == 404:
        return CovbenchError(f"{page}: not found, or private (HTTP 404); open the page to check")
    if error.response is None:
        return TryAgain("no answer")
    try:
        check_status(error.response, page)
    except (TryAgain, CovbenchError) as worded:
        return worded
    return TryAgain(f"HTTP {status}")
