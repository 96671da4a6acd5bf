"""Proofs that we build from tiles are those of Tessera, which wrote them: its own client in Go says the same."""

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from app.core import merkle
from app.local import tools
from app.local.tools.pins import TOOLS, Tool
from tests.unit.core.log_kit import Authority, MadeLog, some

SOURCE = Path(__file__).parent / "tlog_proofs" / "main.go"

# The first to ask builds it into the cache of the tools.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]


class Proofs(Tool):
    """A program of this test's own, by the pins of the Sigstore servers, Tessera's among them."""

    @property
    def digest(self):
        return hashlib.sha256(super().digest.encode() + SOURCE.read_bytes()).hexdigest()[:16]


@pytest.fixture(scope="module")
def binary():
    with pytest.MonkeyPatch.context() as patch:
        proofs = Proofs("tlog-proofs", "sigstore", str(SOURCE), "github.com/transparency-dev/tessera")
        patch.setitem(TOOLS, proofs.name, proofs)
        return tools.install([proofs.name])[proofs.name]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700, 66_000])
def test_tesseras_client_builds_the_same_proofs(tmp_path, authority, binary, size):
    log = MadeLog(tmp_path, authority)
    log.publish(*some(size))
    tiles, root = log.tiles(), log.checkpoint().root
    wanted = sorted(
        {0, 1, 7, 127, 128, 255, 256, 300, 511, 512, 65_535, 65_536, size // 2, size - 1} & set(range(size))
    )
    command = [binary, tmp_path, str(size), *map(str, wanted)]
    said = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)

    def hashes(texts):
        return [base64.b64decode(text) for text in texts or []]

    for at in wanted:
        assert tiles.inclusion(at) == hashes(said["inclusion"][str(at)]), at
        if at:
            proof = hashes(said["consistency"][str(at)])
            assert tiles.consistency(at) == proof, at
            assert merkle.consistent(at, tiles.root(at), size, root, proof)
