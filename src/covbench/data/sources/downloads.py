"""Download files with resume, retries and verification. A file gets its final name only when it is whole."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from covbench import __version__
from covbench.schema import CovbenchError
from covbench.system.disk import require_space
from covbench.system.files import hash_file, write_json

log = logging.getLogger(__name__)

# identity, because byte offsets mean nothing if the server compresses what it sends
HEADERS = {
    "User-Agent": f"covbench/{__version__} python-requests/{requests.__version__}",
    "Accept-Encoding": "identity",
}
TIMEOUT = (15.0, 60.0)  # seconds: to connect, between two packets
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt, while attempts bring nothing new
LONGEST_WAIT = 120.0  # seconds; a server that asks for a longer wait is an error
CHUNK = 2**15  # bytes; at most this much is lost when a connection breaks
MAX_BYTES = 20 * 10**9  # of a file whose size is neither published nor announced
MAX_JSON = 20 * 10**6  # bytes; the largest, a Zenodo record, has 20 kB
FETCH_REMEDY = "on a machine without internet set fetch.mirror to a folder that holds the dataset"

T = TypeVar("T")


class TryAgain(Exception):
    """A failure that may pass, such as a broken connection or an overloaded server.

    wait: seconds that the server asked for, or None.
    """

    def __init__(self, reason: str, wait: float | None = None, status: int = 0) -> None:
        super().__init__(reason)
        self.wait, self.status = wait, status


def download(
    url: str, target: Path, *, checksum: str = "", size: int | None = None, remedy: str = FETCH_REMEDY
) -> None:
    """Download one file. A file that exists and has the checksum is kept.

    Bytes are collected in `target.part`, which survives a kill. The download resumes there if the server allows it and
    its ETag, Last-Modified or the checksum proves that both parts belong together.

    Args:
        url: address of the file.
        target: path of the file.
        checksum: `md5:…` or `sha256:…`, or empty if none is published.
        size: size in bytes, if published.
        remedy: advice for the message about a server that cannot be reached.

    Raises:
        CovbenchError: the server cannot be reached, the file does not exist, its checksum or size is wrong, or no space
            is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file() and not find_wrong_sum(target, checksum):
        log.info("%s exists already", target.name)
        return
    part = _Part(target.with_name(f"{target.name}.part"), url, checksum, size)
    resumed = part.count_bytes() > 0
    with_retries(part.receive, url, remedy, part.count_bytes)
    if resumed and find_wrong_sum(part.path, checksum):
        log.warning("%s: the resumed download has a wrong checksum; downloading it from the start", target.name)
        part.discard()
        with_retries(part.receive, url, remedy, part.count_bytes)
    if wrong := find_wrong_sum(part.path, checksum):
        part.discard()
        raise CovbenchError(
            f"{target.name} from {url}: {wrong}; the file was removed. Run again; if the error remains, the file was "
            "changed at its source or on the way"
        )
    os.replace(part.path, target)
    part.discard()


def find_wrong_sum(path: Path, checksum: str) -> str:
    """Return `wrong md5: expected …, got …`, or an empty string if the file has the `algorithm:digits` checksum.

    An empty checksum is never wrong.
    """
    algorithm, _, expected = checksum.partition(":")
    if not checksum:
        return ""
    got = hash_file(path, algorithm)
    return "" if got == expected.lower() else f"wrong {algorithm}: expected {expected}, got {got}"


def get_json(url: str, remedy: str = FETCH_REMEDY) -> Any:
    """Fetch the JSON document at `url`, with the retries and errors of `download`."""

    def receive() -> Any:
        with requests.get(url, headers=HEADERS, stream=True, timeout=TIMEOUT) as response:
            check_status(response, url)
            body = bytearray()
            for chunk in response.iter_content(CHUNK):
                body += chunk
                if len(body) > MAX_JSON:
                    raise CovbenchError(f"{url}: the answer is longer than {MAX_JSON} bytes; open it to check")
        try:
            return json.loads(body)
        except ValueError as error:
            raise CovbenchError(f"{url}: the answer is not JSON; is it a login page of the network?") from error

    return with_retries(receive, url, remedy)


def with_retries(attempt: Callable[[], T], url: str, remedy: str, count_bytes: Callable[[], int] = lambda: 0) -> T:
    """Call `attempt` until it succeeds, or until len(WAITS) + 1 calls in a row have brought no new bytes.

    Args:
        attempt: the call to make.
        url: address that it reads, for messages.
        remedy: advice for the message about a server that cannot be reached.
        count_bytes: returns the bytes received so far.

    Returns:
        What `attempt` returns.

    Raises:
        CovbenchError: every attempt failed, or the server asked to wait longer than LONGEST_WAIT.
    """
    failures, most = 0, count_bytes()
    while True:
        try:
            return attempt()
        except (
            TryAgain,
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            if count_bytes() > most:
                failures, most = 0, count_bytes()
            asked = error.wait if isinstance(error, TryAgain) else None
            if failures == len(WAITS) or (asked or 0) > LONGEST_WAIT:
                raise CovbenchError(_explain(error, url, remedy, most)) from error
            wait = WAITS[failures] if asked is None else asked
            failures += 1
            log.warning("%s: %s; trying again in %.0f s", _host(url), _reason(error), wait)
            time.sleep(wait)
        except requests.RequestException as error:  # such as a circle of redirects, or one to ftp:
            raise CovbenchError(f"{url}: the answer cannot be followed ({_reason(error)}); {remedy}") from error


def check_status(response: requests.Response, url: str) -> None:
    """Raise TryAgain for an answer that may be better later, and CovbenchError for one that will not."""
    status = response.status_code
    if status == 429 or status >= 500:
        raise TryAgain(f"HTTP {status} {response.reason}", _read_retry_after(response), status)
    if status in (404, 410):
        raise CovbenchError(f"{url}: not found (HTTP {status}); it was moved or deleted at its source")
    if status >= 400:
        raise CovbenchError(f"{url}: refused (HTTP {status} {response.reason})")
    if status not in (200, 206):  # 202: the file is still being made
        raise TryAgain(f"HTTP {status} {response.reason}", _read_retry_after(response), status)


@dataclass(frozen=True)
class _Part:
    """The beginning of a download. A file beside it holds what is needed to resume: address, size and validator."""

    path: Path
    url: str
    checksum: str
    size: int | None

    @property
    def notes(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def count_bytes(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def read_notes(self) -> dict[str, Any]:
        try:
            notes = json.loads(self.notes.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return notes if isinstance(notes, dict) else {}

    def receive(self) -> None:
        """Fetch what is missing in one request."""
        notes = self.read_notes()
        known = notes.get("url") == self.url and bool(notes.get("validator") or self.checksum)
        offset = self.count_bytes() if known else 0
        if offset and offset == notes.get("size"):
            return
        headers = dict(HEADERS)
        if offset:
            headers["Range"] = f"bytes={offset}-"
            headers |= {"If-Range": notes["validator"]} if notes.get("validator") else {}
        with requests.get(self.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if offset and not _continues(response, offset, notes.get("size") or self.size):
                offset = 0
            if response.status_code in (206, 416) and not offset:
                self.discard()
                raise TryAgain("the server no longer offers the rest of the file", wait=0)
            check_status(response, self.url)
            if not offset:
                self.discard()
            total = self._announce(response, offset)
            self._append(response, offset, total)
        if total is not None and self.count_bytes() != total:
            raise TryAgain(f"the connection broke after {self.count_bytes()} of {total} bytes")

    def _announce(self, response: requests.Response, offset: int) -> int | None:
        """Return the total size in bytes, or None if it is neither published nor sent by the server.

        The announced size is checked against the expected size and the free disk space.
        """
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":  # neither offsets nor sizes would mean anything
            raise CovbenchError(f"{self.url}: the server packs what it sends ({encoding}) although it was asked not to")
        length = response.headers.get("Content-Length", "")
        if length and not (length.isascii() and length.isdecimal()):
            raise CovbenchError(f"{self.url}: the server announces an impossible size, {length!r}")
        total = offset + int(length) if length else None
        if total is not None and self.size not in (None, total):
            raise CovbenchError(f"{self.url}: holds {total} bytes instead of {self.size}; it was changed at its source")
        require_space(self.path.parent, (total or self.size or 0) - offset, self.path.stem)
        etag = response.headers.get("ETag", "")  # a weak one (W/…) may not be used with If-Range
        validator = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
        write_json(self.notes, {"url": self.url, "size": total, "validator": validator})
        return self.size if total is None else total

    def _append(self, response: requests.Response, offset: int, total: int | None) -> None:
        """Write the body. Raises CovbenchError, and removes what was written, if it does not end at its known size."""
        written, limit = offset, MAX_BYTES if total is None else total
        with (
            open(self.path, "ab" if offset else "wb") as file,
            tqdm(total=total, initial=offset, desc=self.path.stem, unit="B", unit_scale=True, mininterval=1) as bar,
        ):
            for chunk in response.iter_content(CHUNK):
                written += len(chunk)
                if written > limit:
                    self.discard()
                    raise CovbenchError(f"{self.url}: the server sends more than {limit} bytes; the file was removed")
                file.write(chunk)
                bar.update(len(chunk))


def _continues(response: requests.Response, offset: int, size: int | None) -> bool:
    """Return whether the answer is the rest of the file from `offset` on, up to its end at `size` if that is known."""
    said = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status_code != 206 or said is None or int(said[1]) != offset:
        return False
    last, whole = int(said[2]), said[3]
    length = response.headers.get("Content-Length", str(last + 1 - offset))
    return length == str(last + 1 - offset) and (whole == "*" or int(whole) == last + 1) and size in (None, last + 1)


def _read_retry_after(response: requests.Response) -> float | None:
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else None


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _reason(error: Exception) -> str:
    """Return the innermost cause in short, which requests wraps in three layers of names and addresses."""
    text = str(error)
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "it broke off before the end"
    found = re.search(r"\[Errno -?\d+\] ([^\"'()\[\]]+)|(Read timed out|timed out)", text)
    return (found[1] or found[2]).strip() if found else text.split("\n")[0][:200]


def _explain(error: Exception, url: str, remedy: str, received: int) -> str:
    if isinstance(error, TryAgain) and error.status == 429:
        wait = f" for {error.wait:.0f} s" if error.wait else ""
        return f"{_host(url)} asks to wait{wait} (HTTP 429: too many requests); run again later"
    if isinstance(error, TryAgain) and error.status:
        return f"{_host(url)} cannot answer now ({error}); run again later"
    if received:
        return (
            f"{url}: the connection keeps breaking ({_reason(error)}); {received} bytes are kept, run again to resume"
        )
    if isinstance(error, TryAgain | requests.exceptions.ChunkedEncodingError):
        return f"{url}: the server answers, but not with the whole file ({_reason(error)}); run again later"
    return f"cannot reach {_host(url)} ({_reason(error)}): is there a network? If not, {remedy}"
