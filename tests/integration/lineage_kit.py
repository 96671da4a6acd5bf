"""The demo's stack, whose sidecars sign their batches, and what its control plane holds of them."""

import sqlite3
from contextlib import closing

import httpx

from app.local.demo.stack import SYSTEM, Stack

#: What a batch row says, in order.
COLUMNS = "instance, file, first, last, first_entry, entries, root, payload, previous, opa, log_index, evidence"


class LineageStack(Stack):
    """The demo's stack, and what its control plane holds of the lineage."""

    def bound_token(self, name):
        """A sidecar's own token: nobody else's gets it an identity."""
        path = self.directory / f"{name}.token"
        bound = ("--scope", "record:write", "--system", SYSTEM, "--sidecar", name)
        self.placet("token", "create", name, *bound, "-o", str(path))
        return path.read_text().strip()

    def batches(self, sidecar):
        """The rows of a sidecar's batches, oldest first."""
        with closing(sqlite3.connect(f"file:{self.database()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            query = f"SELECT {COLUMNS} FROM batch WHERE sidecar = ? ORDER BY id"
            return [dict(row) for row in database.execute(query, (sidecar,))]

    def decision_ids(self, sidecar):
        """The ids of all decisions that the control plane holds of a sidecar, as often as it holds them."""
        with closing(sqlite3.connect(f"file:{self.database()}?mode=ro", uri=True)) as database:
            query = "SELECT decision_id FROM decision WHERE sidecar = ?"
            return [row[0] for row in database.execute(query, (sidecar,))]

    def database(self):
        [path] = (self.directory / "server").glob("*.db")
        return path

    def breaks(self, sidecar, **parameters):
        """The breaks of a sidecar, as the API shows them; by default those that are open."""
        found = self.api("/lineage/breaks", system=SYSTEM, **parameters)["items"]
        return [one for one in found if one["sidecar"] == sidecar]

    def clear(self, identifier):
        """Clear a break, as a person does."""
        answer = httpx.post(
            f"{self.server}/api/v1/lineage/breaks/{identifier}/clear",
            json={"reason": "looked at it"}, headers=self.authorization(), timeout=30, trust_env=False,
        )  # fmt: skip
        assert answer.is_success, answer.text


def chained(rows):
    """Whether batches follow each other without gap, fork or repeat, over all files of one instance."""
    entry, previous, file, last = 0, None, None, 0
    for row in rows:
        begins = row["first"] == (last if row["file"] == file else 0)
        if not begins or (row["first_entry"], row["previous"]) != (entry, previous):
            return False
        entry, previous, file, last = entry + row["entries"], row["payload"], row["file"], row["last"]
    return len({row["instance"] for row in rows}) == 1
