"""Nothing is asked of a server for a file that cannot be written, and what could not be kept is printed."""

import errno
import json
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from app.core.errors import PlacetError, UsageError
from app.core.holder_keys import store_private
from cli import (
    bundle,
    bundle_attest,
    bundle_countersign,
    client,
    edge,
    enrolment,
    execution,
    layout,
    mode,
    outputs,
    signing,
    step,
    token,
    warrant,
    warrant_chain,
)
from cli.output import Output
from tests.unit.core.chains import Hand, root

ISSUED = {"id": "w1", "status": "issued", "request_digest": "d", "expires_at": "e", "token": "the.warrant.itself"}
INVITED = {"id": "j1", "system": "payments", "sidecar": "one", "expires_at": "e", "join_token": "placet-join_j1_s"}
STARTED = {"decision": {"allow": True, "reasons": [], "obligations": []}, "execution": {"id": "e-1", "token": "a.b.c"}}


def issue(out):
    warrant.issue("payments", "https://i.example#job", ["refund"], ["payment/*"], lifetime="15m", depth=0, out=out)


def fetch(out):
    warrant.fetch("w1", "payments", out=out)


def create(out):
    token.create("one", ["record:write"], out=out, output=Output.JSON)


def invite(out):
    enrolment.invite("payments", "one", expires="10m", out=out, output=Output.JSON)


def start(out):
    execution.start("read", "payment/p-1", identity_token=Path("id.jwt"), out=out, output=Output.JSON)


def renew(out):
    execution.renew("e-1", Path("id.jwt"), out=out, output=Output.JSON)


def shadow(out):
    mode.shadow("payments", "first week", "7d", out, begins="+0", domain="example.org")


def run_step(out):
    step.run("build", ["true"], products=["*.txt"], out=out)


def sign_layout(_):
    """Its signature is written beside it."""
    if not Path("l.yaml").exists():
        layout.new("payments", Path("l.yaml"), "dev@example.org", "https://accounts.example", days=9)
    layout.sign(Path("l.yaml"))


def sign(_):
    bundle.sign(Path("b.tar.gz"))


def attest(_):
    bundle_attest.attest(Path("b.tar.gz"), [Path("tests")])


def countersign(_):
    bundle_countersign.countersign(Path("b.tar.gz"), "dev@example.org", "https://accounts.example")


def delegate(out):
    holder = Hand("job-17")
    Path("chain").write_text(root(holder, depth=1, iat=int(time.time()), exp=int(time.time()) + 600))
    Path("key").write_bytes(store_private(holder.key, None))
    warrant_chain.delegate([Path("chain")], Path("key"), "https://i.example#job", depth=0, out=out)


#: Each command: what it is answered, and what must not be lost.
ASKING = {
    issue: (ISSUED, "the.warrant.itself"),
    fetch: (ISSUED, "the.warrant.itself"),
    create: ({"id": "t1", "token": "placet_t1_s"}, "placet_t1_s"),
    invite: (INVITED, "placet-join_j1_s"),
    start: (STARTED, "a.b.c"),
    renew: ({"execution": STARTED["execution"]}, "a.b.c"),
}


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "id.jwt").write_text("i.d.t")


class Asked(list):
    """What was asked of a control plane or of an edge, or to be signed."""

    answer = None


@pytest.fixture
def asked(monkeypatch):
    asked = Asked()

    def handle(request):
        asked.append(request.url.path)
        return httpx.Response(200, json=asked.answer)

    def connected(kind):
        transport = httpx.MockTransport(handle)
        return lambda *_: kind(httpx.Client(transport=transport, base_url="http://p"), "p")

    class Session:
        identity, issuer, trust = "lead@example.org", "https://accounts.example", None

        def sign(self, statement):
            asked.append(json.loads(statement)["predicateType"])
            return b"{}"

    monkeypatch.setattr(client, "connect", connected(client.ControlPlane))
    monkeypatch.setattr(edge, "connect", connected(edge.Edge))
    monkeypatch.setattr(signing, "session", lambda *_: Session())
    monkeypatch.setattr(signing, "check", lambda *_: None)
    return asked


def fail(number):
    def failing(*_, **__):
        raise OSError(number, os.strerror(number))

    return failing


def names(directory):
    return sorted(one.name for one in directory.iterdir())


@pytest.mark.parametrize("command", ASKING, ids=lambda one: one.__name__)
@pytest.mark.parametrize(("where", "why"), [("none", "No such file or directory"), ("id.jwt", "Not a directory")])
def test_nothing_is_asked_for_a_file_that_cannot_be_written(asked, command, where, why):
    asked.answer = ASKING[command][0]
    with pytest.raises(PlacetError, match=f"^cannot write {where}/e.token: {why}$"):
        command(Path(where) / "e.token")
    assert asked == []


@pytest.mark.parametrize("command", ASKING, ids=lambda one: one.__name__)
def test_what_cannot_be_kept_after_all_is_printed_and_what_it_is(asked, tmp_path, monkeypatch, capsys, command):
    asked.answer, secret = ASKING[command]
    monkeypatch.setattr("pathlib.Path.replace", fail(errno.ENOSPC))
    with pytest.raises(PlacetError, match=r"cannot write e\.token: No space left on device; what should be in it"):
        command(Path("e.token"))
    printed = capsys.readouterr().out
    assert secret in printed.splitlines()
    assert any(name in printed.replace(secret, "") for name in ("e-1", "w1", "t1", "j1")), "its id is told"
    assert len(asked) == 1
    assert names(tmp_path) == ["id.jwt"], "and nothing is left behind"


@pytest.mark.parametrize("command", ASKING, ids=lambda one: one.__name__)
def test_it_is_kept_also_when_nobody_reads_what_is_printed(asked, monkeypatch, command):
    asked.answer, secret = ASKING[command]
    monkeypatch.setattr("sys.stdout.write", fail(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left on device"):
        command(Path("e.token"))
    assert Path("e.token").read_text() == secret + "\n"


@pytest.mark.parametrize("command", ASKING, ids=lambda one: one.__name__)
def test_what_is_kept_is_for_this_user_alone_and_is_not_printed(asked, tmp_path, capsys, command):
    asked.answer, secret = ASKING[command]
    command(Path("e.token"))
    assert Path("e.token").read_text() == secret + "\n"
    assert Path("e.token").stat().st_mode & 0o777 == 0o600
    assert secret not in capsys.readouterr().out
    assert names(tmp_path) == ["e.token", "id.jwt"]


@pytest.mark.parametrize("command", [issue, fetch, create, invite])
def test_what_is_there_is_not_written_over(asked, command):
    Path("e.token").write_text("in use")
    with pytest.raises(UsageError, match="exists; choose another file, or delete it"):
        command(Path("e.token"))
    assert (asked, Path("e.token").read_text()) == ([], "in use")


@pytest.mark.parametrize("command", [shadow, run_step, sign_layout])
def test_nothing_is_signed_for_a_file_that_cannot_be_written(asked, monkeypatch, command):
    Path("a.txt").write_text("a")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", fail(errno.EACCES))
        with pytest.raises(PlacetError, match=r"^cannot write .*: Permission denied$"):
            command(Path("x.json"))
    assert asked == []
    command(Path("x.json"))
    assert len(asked) == 1
    written = Path("l.yaml.sigstore.json" if command is sign_layout else "x.json")
    assert written.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("command", [sign, attest, countersign])
def test_no_evidence_of_a_bundle_is_signed_that_cannot_be_written(asked, monkeypatch, command):
    """What is signed stands in a public log."""
    Path("b.tar.gz").write_bytes(b"bundle")
    Path("tests").mkdir()
    for name in ("building.release_statements", "attestation.attest", "verification.verify_release"):
        monkeypatch.setattr(f"app.core.{name}", lambda *_, **__: SimpleNamespace(signers=[]))
    for module in (bundle_attest, bundle_countersign):
        monkeypatch.setattr(module, "pinned_opa", lambda _: None)
    monkeypatch.setattr("app.core.condition_check.require", lambda *_: None)
    monkeypatch.setattr(tempfile, "mkstemp", fail(errno.EACCES))
    with pytest.raises(PlacetError, match=r"^cannot write b\.tar\.gz\.attestations\.jsonl: Permission denied$"):
        command(None)
    assert asked == []


def test_a_delegated_chain_has_its_place_first_and_is_printed_if_it_must(monkeypatch, capsys):
    with pytest.raises(PlacetError, match=r"^cannot write none/x: No such file or directory$"):
        delegate(Path("none/x"))
    delegate(Path("x"))
    assert Path("x").read_text().count("\n") == 2
    assert Path("x").stat().st_mode & 0o777 == 0o600
    capsys.readouterr()
    monkeypatch.setattr("pathlib.Path.replace", fail(errno.EIO))
    with pytest.raises(PlacetError, match="printed instead"):
        delegate(Path("y"))
    assert capsys.readouterr().out.splitlines()[-2] == Path("chain").read_text()


def test_a_full_disk_is_found_out_before(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail(errno.ENOSPC))
    with pytest.raises(PlacetError, match="No space left on device"):
        outputs.Place(Path("x"))
    assert names(tmp_path) == ["id.jwt"]


def test_a_directory_is_no_file_and_a_stream_is_written_into(tmp_path):
    with pytest.raises(UsageError, match="is a directory; name a file"):
        outputs.Place(tmp_path)
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    with outputs.Place(Path("pipe")) as place:
        place.keep(b"a.b.c\n")
    assert os.read(reader, 100) == b"a.b.c\n"
    os.close(reader)


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    with outputs.Place(Path("x")) as place:
        assert len(names(tmp_path)) == 2
        place.__exit__(KeyboardInterrupt, None, None)
        assert names(tmp_path) == ["id.jwt"]
