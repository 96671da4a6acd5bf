"""Git over https: git's own server behind TLS of the standard library, with a password or without."""

import base64
import http.server
import os
import ssl
import subprocess
import threading
import time

import pytest

from app.core import bundle_source
from app.core.errors import PlacetError
from app.local.ports import free_port
from bench.certificate import self_signed

USER, PASSWORD = "reader", "correct horse"


class GitServer:
    """Serves the repositories below a directory; those below `private` to whoever knows the password."""

    def __init__(self, directory):
        self.directory = directory
        self.certificate, key = self_signed(directory)
        #: Bytes that were sent.
        self.sent = 0
        #: Set to let nothing through until it is cleared.
        self.stalled = threading.Event()
        #: Where every request is sent on to, if anywhere.
        self.redirect = ""
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def answer(self, request):
        while self.stalled.is_set():
            time.sleep(0.05)
        path, _, query = request.path.partition("?")
        shown = request.headers.get("Authorization")
        if self.redirect:
            return self._send(request, 302, {"Location": self.redirect + request.path}, b"")
        if "/private/" in path and shown != "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode():
            return self._send(request, 401, {"WWW-Authenticate": 'Basic realm="tests"'}, b"")
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        told = {
            "GIT_PROJECT_ROOT": str(self.directory), "GIT_HTTP_EXPORT_ALL": "1", "PATH": os.environ["PATH"],
            "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": request.command,
            "CONTENT_TYPE": request.headers.get("Content-Type") or "", "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": request.headers.get("Git-Protocol") or "", "HOME": str(self.directory),
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
        }  # fmt: skip
        done = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True, env=told, check=True, timeout=60
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return self._send(request, int(headers.pop("Status", "200").split()[0]), headers, content)

    def _send(self, request, status, headers, content):
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)
        self.sent += len(content)

    def close(self):
        self.stalled.clear()
        self._server.shutdown()
        self._server.server_close()


class Repository:
    """A repository that a server serves, written to directly."""

    def __init__(self, server, name):
        self._server = server
        self.path = server.directory / name
        self.path.mkdir(parents=True)
        self.url = f"https://{server.host}/{name}"
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments, stdin=""):
        names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
        names |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in names.items()}
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, check=True, capture_output=True, text=True, input=stdin,
            env={"PATH": os.environ["PATH"], "HOME": str(self._server.directory), **names},
        )  # fmt: skip
        return done.stdout.strip()

    def commit(self, **files):
        for name, content in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        self.git("add", ".")
        self.git("commit", "-qm", "a change")
        return self.git("rev-parse", "HEAD")

    def add_submodule(self, path, address, commit):
        """As `git submodule add` leaves it, without a clone."""
        self.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
        modules = self.path / ".gitmodules"
        known = modules.read_text() if modules.exists() else ""
        modules.write_text(f'{known}[submodule "{path}"]\n\tpath = {path}\n\turl = {address}\n')
        self.git("add", ".gitmodules")
        self.git("commit", "-qm", "a submodule")
        return self.git("rev-parse", "HEAD")


def read(person, source):
    with person.here():
        return bundle_source.read(source)


def refused(person, source):
    """One line that says why a source is not read, and never a password."""
    with pytest.raises(PlacetError) as error:
        read(person, source)
    assert "\n" not in str(error.value)
    assert PASSWORD not in str(error.value)
    return str(error.value)
