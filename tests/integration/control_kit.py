"""A control plane that runs as a process of its own, for tests of commands: with a domain and options."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
from tuf.ngclient import Updater

from app.local.ports import free_port

PLACET = str(Path(sys.executable).with_name("placet"))
REPOSITORY = Path(__file__).parents[2]


def placet(*arguments, expect=0, stdin=None, **environment):
    """Run `placet` to its end."""
    done = subprocess.run(
        [PLACET, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=REPOSITORY,
        input=stdin,
        env=os.environ | {name: str(value) for name, value in environment.items()},
    )
    assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
    return done


class ControlPlane:
    """`placet server init` and `placet server run`."""

    def __init__(self, directory, sigstore, opa, *options, port=None):
        self.directory = directory
        self.sigstore = sigstore
        placet("server", "init", "--dir", directory, "--domain", "example.org")
        port = port or free_port()
        usual = ["--dir", directory, "--port", port, "--trust-config", sigstore.trust_config, "--opa", opa]
        if "--lineage-trust-config" not in options:
            usual.append("--unsigned-records")
        command = [PLACET, "server", "run", *map(str, [*usual, "--freshness-interval", "0.5", *options])]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
        self.url = f"http://127.0.0.1:{port}"
        self.token_file = directory / "admin.token"
        deadline = time.monotonic() + 60
        while not self._ready():
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline, "the control plane did not become ready"
            time.sleep(0.05)

    def _ready(self):
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def run(self, *arguments, expect=0, **environment):
        """A command that talks to it."""
        return placet(*arguments, "--server", self.url, "--token-file", self.token_file, expect=expect, **environment)

    def json(self, *arguments, expect=0):
        """Such a command's JSON."""
        return json.loads(self.run(*arguments, "--output", "json", expect=expect).stdout)

    def api(self):
        """Its API, as the administrator."""
        headers = {"Authorization": f"Bearer {self.token_file.read_text().strip()}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def take(self, system, records, states, file="f-1"):
        """Store records and archived trust states, as a sidecar named `one` sends them."""
        body = b"".join(raw + b"\n" for raw in records)
        place = {"instance": "i-1", "file": file, "first": 0, "last": len(body)}
        with self.api() as api:
            api.post(f"/api/v1/systems/{system}/sidecars/one/records", params=place, content=body).raise_for_status()
            for digest, raw in states.items():
                api.put(f"/api/v1/systems/{system}/states/{digest}", content=raw).raise_for_status()

    def target(self, cache, path):
        """A TUF target, verified by python-tuf's own client; parsed."""
        cache.mkdir(exist_ok=True)
        updater = Updater(
            str(cache),
            f"{self.url}/tuf/metadata",
            target_dir=str(cache),
            target_base_url=f"{self.url}/tuf/targets/",
            bootstrap=(self.directory / "tuf-root.json").read_bytes(),
        )
        updater.refresh()
        return json.loads(Path(updater.download_target(updater.get_targetinfo(path))).read_bytes())

    def stop(self):
        """End it."""
        self.process.terminate()
        self.process.wait(30)
        self.process.stderr.close()
