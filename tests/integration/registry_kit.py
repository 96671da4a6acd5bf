"""A real registry (CNCF Distribution), a real client (oras), and those who give tokens and keep logins."""

import base64
import contextlib
import http.server
import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from app.local import tools
from app.local.demo.parts import eventually
from app.local.ports import free_port

from .person_kit import Person

USER, PASSWORD = "puller", "correct horse"
#: The bcrypt of that password: there is no library for it here, and a registry takes nothing else.
_HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n"


class Registry:
    """Distribution over a directory; `auth` is that part of its configuration."""

    def __init__(self, directory, *, auth=None, address="127.0.0.1", tls=None):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.host = f"{address}:{free_port()}"
        http = {"addr": self.host, **({"tls": tls} if tls else {})}
        storage = {"filesystem": {"rootdirectory": str(directory / "blobs")}}
        config = {"version": "0.1", "log": {"level": "error"}, "storage": storage, "http": http}
        (directory / "config.yml").write_text(json.dumps({**config, **({"auth": auth} if auth else {})}))
        binary = tools.install(["registry"])["registry"]
        with (directory / "registry.log").open("wb") as log:
            self._process = subprocess.Popen(
                [binary, "serve", directory / "config.yml"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"OTEL_TRACES_EXPORTER": "none"},
            )  # fmt: skip
        verify = ssl.create_default_context(cafile=tls["certificate"]) if tls else True
        self._url = f"{'https' if tls else 'http'}://{self.host}/v2/"
        eventually("the registry answers", lambda: self._answers(verify), within=60)

    def _answers(self, verify):
        assert self._process.poll() is None, (self.directory / "registry.log").read_text()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self._url, verify=verify, trust_env=False).status_code in (200, 401)
        return False

    def close(self):
        self._process.kill()
        self._process.wait()


def by_password(directory):
    """The configuration of a registry that asks for user and password."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "htpasswd").write_text(_HTPASSWD)
    return {"htpasswd": {"realm": "tests", "path": str(directory / "htpasswd")}}


class Tokens:
    """Gives a registry's tokens for a password, or for an identity token; to everybody for what lies under `open/`."""

    IDENTITY = "an-identity-token"

    def __init__(self, directory):
        directory.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        (directory / "jwks.json").write_text(
            json.dumps({"keys": [{**public, "kid": "1", "use": "sig", "alg": "ES256"}]})
        )
        tokens = self
        #: How each token was asked for: method, and as whom.
        self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                shown = self.headers.get("Authorization")
                good = shown == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                tokens.asked.append(("GET", "user" if shown else "nobody"))
                tokens.answer(self, asked, known=good, refused=bool(shown) and not good, member="token")

            def do_POST(self):
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                good = form["grant_type"] == ["refresh_token"] and form["refresh_token"] == [tokens.IDENTITY]
                tokens.asked.append(("POST", form["client_id"][0]))
                tokens.answer(self, form, known=good, refused=not good, member="access_token")

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        realm = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        told = {"realm": realm, "service": "tests", "issuer": "tokens", "jwks": str(directory / "jwks.json")}
        self.auth = {"token": told}

    def answer(self, request, asked, *, known, refused, member):
        access = []
        for scope in " ".join(asked.get("scope", [])).split():
            kind, name, actions = scope.split(":")
            granted = actions.split(",") if known else ["pull"] if name.startswith("open/") else []
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        claims = {"iss": "tokens", "aud": "tests", "sub": USER if known else "", "access": access,
                  "iat": now, "nbf": now - 5, "exp": now + 60, "jti": str(now)}  # fmt: skip
        token = jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": "1"})
        body = json.dumps({} if refused else {member: token}).encode()
        request.send_response(401 if refused else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class RegistryUser(Person):
    """Somebody who runs `oras` too."""

    def __init__(self, home):
        super().__init__(home)
        self._oras = tools.install(["oras"])["oras"]
        self.config = home / ".docker" / "config.json"

    def oras(self, *arguments, **options):
        return self.run(self._oras, *arguments, **options)

    def log_in(self, registry, *options, password=PASSWORD, **more):
        return self.oras("login", registry.host, "--plain-http", "-u", USER, "--password-stdin", *options,
                         stdin=password, **more)  # fmt: skip

    def push(self, layout, registry, name, *options):
        return self.oras("cp", "--from-oci-layout", f"{layout}:latest", "--to-plain-http", f"{registry.host}/{name}",
                         *options)  # fmt: skip

    def keeps_logins_in_a_program(self, name):
        """As on a laptop: docker's file names a program that keeps the logins, here in a file of its own."""
        (self.home / "bin").mkdir()
        program = self.home / "bin" / f"docker-credential-{name}"
        program.write_text(f"#!{sys.executable}\n{_KEEPER}")
        program.chmod(0o755)
        self.config.parent.mkdir()
        self.config.write_text(json.dumps({"credsStore": name}))
        return program


_KEEPER = """
import json, pathlib, sys
kept = pathlib.Path(__file__).with_suffix(".json")
logins = json.loads(kept.read_text()) if kept.exists() else {}
asked = sys.stdin.read().strip()
if sys.argv[1] == "store":
    login = json.loads(asked)
    kept.write_text(json.dumps({**logins, login["ServerURL"]: login}))
elif asked in logins:
    print(json.dumps(logins[asked]))
else:
    sys.exit("credentials not found in native keychain")
"""
