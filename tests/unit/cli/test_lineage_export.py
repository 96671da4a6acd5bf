"""`placet lineage export`: what `in-toto-verify` from the in-toto package says of it, whole and changed."""

import http.server
import json
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from in_toto import verifylib
from in_toto.models.metadata import Metadata

from app.core import graph, holder_keys, story
from app.core.classic_links import Classic
from app.core.errors import Denied, UsageError
from app.core.execution_evidence import SignedLink
from app.core.link_names import Ref, payload_digest
from cli import lineage_export
from cli.output import Output
from tests.unit.control.link_kit import EXECUTION, Journal, digest

SIGNED_AT = datetime(2026, 1, 31, 12, 1, tzinfo=UTC)
LEAF = Ref("decision/4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e", digest("leaf"))

LAYOUT = {
    "steps": [
        {"name": "fetch", "expected_products": [["CREATE", "source [[]1]"], ["DISALLOW", "*"]]},
        {
            "name": "build",
            "expected_materials": [["MATCH", "*", "WITH", "PRODUCTS", "FROM", "fetch"], ["DISALLOW", "*"]],
            "expected_products": [["REQUIRE", "program"], ["ALLOW", "program"], ["DISALLOW", "*"]],
        },
    ]
}


def artifact(name, text):
    return Ref(f"artifact/{name}", digest(text))


def journal(*, workflow="build", last=True, **start):
    """Of an execution that fetched and built; between its statements stand others of the sidecar."""
    made = Journal()
    made.enforce()
    made.start(decisions=[LEAF], warrants=[Ref("warrant/w-1", digest("token"))], **({"workflow": workflow} | start))
    made.trust()
    made.step("fetch", products=[artifact("source [1]", "source")], facts={"url": "https://example.org/*"})
    made.start("another-0123456789")
    if last:
        made.step(
            "build",
            materials=[artifact("source [1]", "source"), LEAF, Ref("link/parent", digest("p1")),
                       Ref("link/parent", digest("p2"))],
            products=[artifact("program", "program")],
            command=["cc", "-o", "program"],
        )  # fmt: skip
    made.end()
    return made


def document(made=None):
    """What `lineage show` prints, as far as an export reads it."""
    own = [
        SignedLink(one, payload_digest(one.statement()), SIGNED_AT, one.number)
        for one in (made or journal()).made
        if one.execution == EXECUTION
    ]
    links = [graph.link_document(one) for one in own]
    return {"format": graph.FORMAT, "execution": story.summary(own[0].key, own), "links": links, "story": []}


@pytest.fixture
def shown(tmp_path):
    def write(found=None):
        path = tmp_path / "shown.json"
        path.write_text(json.dumps(found or document()))
        return path

    return write


@pytest.fixture
def governance(tmp_path):
    path = tmp_path / "governance.yaml"
    path.write_text(yaml.safe_dump({"version": 3, "workflows": {"build": {"layout": LAYOUT}}}))
    return path


def export(out, source, **more):
    lineage_export.export(EXECUTION, out, source=source, output=Output.JSON, **more)


def in_toto_verify(directory, key=None):
    """The command of the in-toto package."""
    command = [Path(sys.executable).with_name("in-toto-verify"), "--layout", directory / "root.layout"]
    command += ["--verification-keys", key or directory / "exporter.pub", "--link-dir", directory]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=directory)


def verifies(directory):
    """The same in this process, for the many that follow."""
    from in_toto.models._signer import load_public_key_from_file

    key = load_public_key_from_file(directory / "exporter.pub")
    try:
        verifylib.in_toto_verify(Metadata.load(directory / "root.layout"), {key["keyid"]: key}, str(directory))
    except Exception:  # noqa: BLE001 - in-toto raises many kinds, and its own command catches them all
        return False
    return True


def test_in_toto_verify_accepts_it(tmp_path, shown, capsys):
    out = tmp_path / "evidence"
    export(out, shown())
    told = json.loads(capsys.readouterr().out)
    assert (told["links"], told["layout"]) == (4, str(out / "root.layout"))
    assert sorted(path.name.partition(".")[0] for path in out.glob("*.link")) == [
        "0000-execution-start",
        "0001-fetch",
        "0002-build",
        "0003-execution-end",
    ]
    done = in_toto_verify(out)
    assert done.returncode == 0, done.stderr
    assert subprocess.run(told["verify"], shell=True, capture_output=True, cwd=tmp_path, env={
        "PATH": str(Path(sys.executable).parent)}, timeout=60).returncode == 0  # fmt: skip


def test_what_it_says(tmp_path, shown):
    out = tmp_path / "evidence"
    export(out, shown())
    [path] = out.glob("0002-build.*.link")
    link = Metadata.load(path).get_payload()
    statements = [one["digest"] for one in document()["links"]]
    assert link.command == ["cc", "-o", "program"]
    assert {name: f"sha256:{one['sha256']}" for name, one in link.materials.items()} == {
        "source [1]": digest("source"),
        "placet/statement/0001": statements[1],
        f"placet/{LEAF.name}": LEAF.digest,
        "placet/link/parent": min(digest("p1"), digest("p2")),
        f"placet/link/parent/{max(digest('p1'), digest('p2')).removeprefix('sha256:')[:16]}": max(
            digest("p1"), digest("p2")
        ),
    }
    assert {name: f"sha256:{one['sha256']}" for name, one in link.products.items()} == {
        "program": digest("program"),
        "placet/statement/0002": statements[2],
    }
    assert link.byproducts["derived"].startswith("Derived by an exporter")
    assert (link.byproducts["statement"], link.byproducts["said"]["step"]) == (statements[2], "build")
    layout = Metadata.load(out / "root.layout").get_payload()
    assert layout.expires == "9999-12-31T23:59:59Z"
    assert EXECUTION in layout.readme
    assert ["MATCH", "source [[]1]", "WITH", "PRODUCTS", "FROM", "0001-fetch"] in layout.steps[2].expected_materials


def test_any_one_digest_that_is_changed_is_found(tmp_path, shown):
    out = tmp_path / "evidence"
    export(out, shown())
    assert verifies(out)
    changed = 0
    for path in out.glob("*.l*"):
        text = path.read_text()
        for found in re.finditer(r"[0-9a-f]{64}", text):
            flipped = "1" if found[0][0] == "0" else "0"
            path.write_text(text[: found.start()] + flipped + text[found.start() + 1 :])
            assert not verifies(out), (path.name, found[0])
            changed += 1
        path.write_text(text)
    assert changed > 40
    assert verifies(out)
    [path] = out.glob("0001-fetch.*.link")
    path.write_text(path.read_text().replace(digest("source").removeprefix("sha256:"), "0" * 64))
    done = in_toto_verify(out)
    assert done.returncode == 1
    assert "0001-fetch" in done.stderr


def test_what_is_missing_or_of_another_export_is_found(tmp_path, shown):
    out, other = tmp_path / "evidence", tmp_path / "other"
    export(out, shown())
    export(other, shown())
    assert in_toto_verify(out, other / "exporter.pub").returncode == 1
    [path] = out.glob("0001-fetch.*.link")
    [another] = other.glob("0001-fetch.*.link")
    original = path.read_bytes()
    path.write_bytes(another.read_bytes())
    assert not verifies(out)
    path.unlink()
    assert not verifies(out)
    path.write_bytes(original)
    assert verifies(out)


def test_ones_own_key(tmp_path, shown, monkeypatch):
    for alg in ("EdDSA", "ES256"):
        key = tmp_path / f"{alg}.pem"
        key.write_bytes(holder_keys.store_private(holder_keys.generate(alg), b"open"))
        monkeypatch.setenv("PLACET_KEY_PASSPHRASE", "open")
        out = tmp_path / alg
        export(out, shown(), key=str(key))
        assert in_toto_verify(out).returncode == 0
        assert not [path for path in out.iterdir() if b"PRIVATE" in path.read_bytes()]
    assert out.stat().st_mode & 0o777 == 0o755


# ---- with the declared workflow ----------------------------------------------------------------------------


def test_the_declared_rules_hold_for_the_files(tmp_path, shown, governance):
    out = tmp_path / "evidence"
    export(out, shown(), governance=governance)
    done = in_toto_verify(out)
    assert done.returncode == 0, done.stderr
    steps = {step.name: step for step in Metadata.load(out / "root.layout").get_payload().steps}
    assert steps["0002-build"].expected_materials[-2:] == [
        ["MATCH", "*", "WITH", "PRODUCTS", "FROM", "0001-fetch"],
        ["DISALLOW", "*"],
    ]
    assert steps["0001-fetch"].expected_products[-2:] == LAYOUT["steps"][0]["expected_products"]


def test_a_rule_that_was_broken_is_in_totos_to_find(tmp_path, shown, governance, monkeypatch):
    """Were the export to look away, in-toto would not: the layout demands what was declared."""
    made = Journal()
    made.start(workflow="build")
    made.step("fetch", products=[artifact("source [1]", "source")])
    made.step("build", materials=[artifact("source [1]", "another")], products=[artifact("program", "p")])
    made.end()
    with pytest.raises(Denied, match=r"workflow\.violated.*build"):
        export(tmp_path / "no", shown(document(made)), governance=governance)
    assert not (tmp_path / "no").exists()
    monkeypatch.setattr("app.core.workflow.require_step", lambda *_: None)
    export(tmp_path / "evidence", shown(document(made)), governance=governance)
    assert in_toto_verify(tmp_path / "evidence").returncode == 1


def test_an_execution_that_did_not_come_to_the_end(tmp_path, shown, governance):
    with pytest.raises(Denied, match=r"workflow\.violated: not done yet: build"):
        export(tmp_path / "no", shown(document(journal(last=False))), governance=governance)
    export(tmp_path / "evidence", shown(document(journal(last=False))))
    assert in_toto_verify(tmp_path / "evidence").returncode == 0


def test_a_callers_name_does_not_pass_for_one_of_ours():
    made = Journal()
    made.start()
    forged = payload_digest(made.made[0].statement())
    made.step("x", materials=[Ref("artifact/placet/statement/0000", digest("forged"))])
    links = Classic.of(document(made)).links
    assert links[1].materials["placet/statement/0000"] == {"sha256": forged.removeprefix("sha256:")}
    assert "placet/artifact/placet/statement/0000" in links[1].materials


# ---- what is refused ---------------------------------------------------------------------------------------


def without(at):
    found = document()
    del found["links"][at]
    return found


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_lineage_with_a_gap(tmp_path, shown, at):
    with pytest.raises(Denied, match=r"link\.gap"):
        export(tmp_path / "no", shown(without(at)))


BROKEN = {
    "another format": {"format": "https://placet.dev/execution-lineage/v2"},
    "no links": {"links": []},
    "links that are none": {"links": [{}]},
    "no execution": {"execution": None},
    "a step without a name": {"links": [document()["links"][0], document()["links"][1] | {"byproducts": {}}]},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_another_document(tmp_path, shown, change):
    with pytest.raises(UsageError):
        export(tmp_path / "no", shown(document() | change))
    assert not (tmp_path / "no").exists()


def test_bad_input_is_one_line(tmp_path, shown, governance):
    wrong = {
        "exists": {"out": tmp_path},
        "cannot write": {"out": tmp_path / "no" / "such"},
        "cannot read": {"source": tmp_path / "none"},
        "no workflow": {"governance": shown().with_name("empty.yaml")},
        "the key": {"key": str(governance)},
        "not YAML": {"governance": tmp_path / "broken.yaml"},
        "layout.steps": {"governance": tmp_path / "wrong.yaml"},
        "of execution": {"source": shown(document() | {"execution": document()["execution"] | {"id": "other"}})},
    }
    (tmp_path / "empty.yaml").write_text("version: 1\n")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    (tmp_path / "wrong.yaml").write_text("workflows: {build: {layout: {steps: []}}}\n")
    for said, change in wrong.items():
        given = {"out": tmp_path / "new", "source": tmp_path / "good.json"} | change
        (tmp_path / "good.json").write_text(json.dumps(document()))
        with pytest.raises(UsageError, match=said) as caught:
            export(given.pop("out"), given.pop("source"), **given)
        assert "\n" not in str(caught.value)
    (tmp_path / "free.yaml").write_text(yaml.safe_dump({"workflows": {"other": {"layout": LAYOUT}}}))
    with pytest.raises(UsageError, match="declares no workflow build"):
        export(tmp_path / "new", tmp_path / "good.json", governance=tmp_path / "free.yaml")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".*"))


def test_it_asks_the_server(tmp_path, monkeypatch):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            raw = json.dumps(document()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("PLACET_TOKEN", "placet_a_b")
        address = f"http://127.0.0.1:{server.server_port}"
        export(tmp_path / "evidence", None, server=address, system="payments")
        server.shutdown()
    assert asked == [f"/api/v1/executions/{EXECUTION}/lineage?system=payments"]
    assert in_toto_verify(tmp_path / "evidence").returncode == 0
