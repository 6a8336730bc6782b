"""A real HTTP server on 127.0.0.1 that serves bytes well or badly, as told."""

from __future__ import annotations

import os
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHUNK = 4096


@dataclass
class Served:
    """What one path answers.

    cuts: after how many bytes each of the first answers breaks off. statuses: codes of the first answers, before 200.
    claimed: Content-Length to send instead of the true one; empty text: none at all. content_range: to send instead of
    the true one. seconds_per_chunk: to be slow.
    """

    content: bytes = b""
    ranges: bool = True
    etag: str = '"first"'
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    redirect: str = ""
    claimed: int | str | None = None
    content_range: str = ""
    seconds_per_chunk: float = 0.0


class LocalServer:
    """`with LocalServer() as server:` then `server.files["/path"] = Served(…)`; `server.requests` tells what came.

    repositories: folder of bare repositories, which git itself serves: {owner}/{name}.git. None: there are none.
    """

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.repositories: Path | None = None
        self.requests: list[tuple[str, str, str]] = []  # method, path, Range
        self.bodies: list[bytes] = []  # of what was posted
        self.agents: set[str] = set()
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(self))
        self.httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"

    def __enter__(self) -> LocalServer:
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()


def _make_handler(server: LocalServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if ".git/" in self.path:
                return self._ask_git()
            server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            return self.do_GET()

        def do_GET(self) -> None:
            if ".git/" in self.path:
                return self._ask_git()
            path = self.path.split("?")[0]
            server.requests.append((self.command, path, self.headers.get("Range", "")))
            server.agents.add(self.headers.get("User-Agent", ""))
            served = server.files.get(path)
            if served is None:
                self.send_error(404)
            elif served.statuses:
                self._answer(served, served.statuses.pop(0), b"no")
            elif served.redirect:
                self.send_response(302)
                self.send_header("Location", served.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._serve(served)
            return None

        def _ask_git(self) -> None:
            """Answer through `git http-backend`, as a web server does."""
            path, _, query = self.path.partition("?")
            said = {
                "GIT_PROJECT_ROOT": str(server.repositories),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            ended = subprocess.run(
                ["git", "http-backend"], input=asked, env=os.environ | said, capture_output=True, check=False
            )
            head, _, body = ended.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(fields.pop("Status", "200").split()[0]))
            for name, value in fields.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _serve(self, served: Served) -> None:
            offset = 0
            same = self.headers.get("If-Range", served.etag) == served.etag
            if served.ranges and same and self.headers.get("Range"):
                offset = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self._answer(served, 206 if offset else 200, served.content[offset:], offset)

        def _answer(self, served: Served, status: int, body: bytes, offset: int = 0) -> None:
            self.send_response(status)
            if served.claimed != "":
                self.send_header("Content-Length", str(served.claimed or len(body)))
            if served.ranges:
                self.send_header("Accept-Ranges", "bytes")
            if served.etag:
                self.send_header("ETag", served.etag)
            if status == 206:
                end = offset + len(body)
                self.send_header("Content-Range", served.content_range or f"bytes {offset}-{end - 1}/{end}")
            for name, value in served.headers.items():
                self.send_header(name, value)
            self.end_headers()
            stop = served.cuts.pop(0) if served.cuts and status < 300 else len(body)
            for start in range(0, min(stop, len(body)), CHUNK):
                self.wfile.write(body[start : min(start + CHUNK, stop)])
                threading.Event().wait(served.seconds_per_chunk)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler
