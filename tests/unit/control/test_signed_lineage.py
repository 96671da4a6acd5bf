"""An execution's lineage with the real Sigstore: stored, told by the server, and rebuilt without it by the command."""

import base64
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime

import pytest

from app.control.store import Approval, Warrant
from app.core import execution_proof, statements, strict_json
from app.core.errors import Denied
from app.core.execution_proof_form import ExecutionProof
from app.core.link_names import Ref, approval_ref, decision_ref, payload_digest
from app.core.proof_form import Proof
from app.core.signing import SigningSession
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.core.warrant_request import APPROVAL
from tests.last_words import last_words

from .batch_kit import AT, Chain, sidecar_id
from .conftest import record
from .link_kit import EXECUTION, Journal, digest
from .test_execution_lineage import ref_of
from .test_signed_batches import DEVELOPER, PLACET, Live, refused, signed

OTHER = "execution-that-took-it"
WARRANT = "w-1"


@pytest.fixture(scope="module")
def told(tmp_path_factory, opa_binary):
    stand = Told(tmp_path_factory.mktemp("live"), opa_binary)
    yield stand
    stand.close()


class Told(Live):
    """A control plane that holds two executions, of two sidecars: what one made, the other took."""

    def __init__(self, directory, opa_binary):
        super().__init__(directory, opa_binary)
        self.approval = self.approve()
        client, session = self.sidecar("one")
        chain = Chain()
        batch = chain.peek(self.inside("d1") + self.inside("d2")).change(closed_at=datetime.now(UTC))
        assert client.post(chain.path, json=signed(batch, session)).status_code == 200
        self.journal = journal = Journal(policy=self.release)
        named = Ref("evidence/https://slsa.dev/provenance/v1", self.provenance())
        journal.enforce(named)
        warrants = [Ref(f"warrant/{WARRANT}", digest("token")), approval_ref(WARRANT, self.approval)]
        journal.start(decisions=[ref_of(batch, "d1")], warrants=warrants)
        out = Ref("artifact/report", digest("report"))
        journal.step("write", products=[out], materials=[ref_of(batch, "d2")], command=["make", "report"])
        journal.end()
        self.send(journal, client, session)
        self.other = Journal("two", instance="i2")
        self.other.start(OTHER)
        self.other.step("mail", OTHER, materials=[out])
        self.send(self.other, *self.sidecar("two"))

    def inside(self, name):
        named = {"policy": self.release, "library": "sha256:" + "2" * 64}
        result = {"allow": True, "reasons": [], "bundles": named, "state": "sha256:" + "3" * 64, "execution": EXECUTION}
        return record(name, result=result)

    def provenance(self):
        """The digest of what was signed of the release."""
        keys = sorted(key for key, _ in self.plane.objects.keys(f"targets/releases/{self.release[7:]}"))
        [name] = [key for key in keys if key.endswith("sigstore.json")]
        return digest_of_payload(self.plane.objects.get(name))

    def approve(self):
        """The warrant by which the execution is started, approved by a person: the digest of what they signed."""
        said = {"system": "payments", "warrant": WARRANT, "request": {"action": "refund"}}
        about = statements.resource("request", digest("request"))
        boss = SigningSession(self.trust, self.sigstore.token("boss@example.org"))
        evidence = boss.sign(statements.statement([about], APPROVAL, said))
        who = {"requested_by": "t", "obtained": {}, "how": "api", "subject_issuer": "i", "subject_id": "s"}
        signer = {"identity": "boss@example.org", "issuer": self.sigstore.issuer_url, "signed_at": AT}
        with self.plane.store.write() as session:
            row = Warrant(
                id=WARRANT, system="payments", request={}, request_digest=digest("r"), needs_approval=True, **who
            )
            session.add(row)
            session.flush()
            session.add(Approval(warrant=WARRANT, request_digest=digest("r"), evidence=evidence.decode(),
                                 received_by="t", **signer))  # fmt: skip
        return digest_of_payload(evidence)

    def send(self, journal, client, session):
        """Sign and send all statements of a journal."""
        for made in journal.made:
            evidence = session.sign(made.statement()).decode()
            answer = client.post(journal.path, json={"evidence": evidence})
            assert answer.status_code == 200, answer.text
            assert answer.json() == {"number": str(made.number + 1)}

    def prove(self, raw, name="one"):
        """Verify a proof of an execution."""
        return execution_proof.verify(
            ExecutionProof.read(raw),
            sidecars=VerificationPolicy(identities=[SignerIdentity(identity=sidecar_id(name), issuer=self.url)]),
            releases=VerificationPolicy(
                identities=[SignerIdentity(identity=DEVELOPER, issuer=self.sigstore.issuer_url)]
            ),
            lineage=self.trust,
            trust=self.trust,
        )

    def from_log(self, *arguments, objects=None, expect=0):
        """A command that asks no control plane: none of its options or variables name one."""
        config = ("--lineage-trust-config", self.sigstore.trust_config, "--identity-issuer", self.url)
        place = ("--from-log", "--objects", objects or self.plane.settings.directory / "objects")
        place += ("--domain", "placet.internal")
        done = subprocess.run(
            [PLACET, "lineage", *map(str, (*arguments, *place, *config))],
            capture_output=True,
            text=True,
            timeout=120,
            env={name: value for name, value in os.environ.items() if not name.startswith("PLACET_")},
        )
        assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout if expect == 0 else done.stderr

    def from_server(self, *arguments):
        """What a command prints that asks the control plane."""
        connection = ("--server", self.url, "--token-file", self.token_file)
        command = [PLACET, "lineage", *map(str, (*arguments, *connection))]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def digest_of_payload(evidence):
    return payload_digest(base64.b64decode(json.loads(evidence)["dsseEnvelope"]["payload"]))


def test_the_story_rests_on_signatures_and_is_the_same_from_the_log(told, tmp_path):
    stored = told.run("lineage", "show", EXECUTION)
    assert [one["what"] for one in stored["story"]] == [
        "release/signed", "release/signed", "warrant/approved", "release/enforce", "decision", "execution/start",
        "decision", "execution/step", "execution/end",
    ]  # fmt: skip
    signatures = {one["predicate_type"]: one for one in stored["story"] if "predicate_type" in one}
    provenance = signatures[statements.PROVENANCE]
    assert (provenance["by"], provenance["policy"], provenance["problem"]) == (DEVELOPER, told.release, None)
    assert provenance["commits"] == ["git+https://code.example/policy@" + "4f" * 20]
    assert (signatures[APPROVAL]["by"], signatures[APPROVAL]["digest"]) == ("boss@example.org", told.approval)
    start = next(one for one in stored["links"] if one["kind"] == "execution/start")
    assert statements.resource(f"approval/{WARRANT}", told.approval) in start["materials"]
    joined = {(edge["from"], edge["to"], edge["kind"]) for edge in stored["edges"]}
    assert {(told.approval, start["digest"], "material"), (told.approval, digest("token"), "vouches-for")} <= joined
    nodes = {one["digest"]: one for one in stored["nodes"]}
    assert nodes[told.approval]["known"] and nodes[told.approval]["type"] == "approval"
    assert nodes[told.provenance()]["known"] and nodes[told.provenance()]["type"] == "evidence"
    assert [one["id"] for one in stored["executions"]] == [OTHER]

    # Neither its database nor its server: the objects alone, somewhere else, and the log's own tiles.
    copy = tmp_path / "copy"
    shutil.copytree(told.plane.settings.directory / "objects", copy)
    log = ("--log", told.sigstore.directory / "rekor")
    assert json.loads(told.from_log("show", EXECUTION, "--output", "json", objects=copy)) == stored
    assert json.loads(told.from_log("show", EXECUTION, "--output", "json", *log, objects=copy)) == stored
    graph = json.loads(told.from_log("graph", EXECUTION, "--format", "json", objects=copy))
    assert (graph["nodes"], graph["edges"]) == (stored["nodes"], stored["edges"])
    assert "execution/end" in told.from_log("show", EXECUTION, objects=copy)

    # Byte for byte, in each form.
    for command in (("show", EXECUTION, "--output", "json"), ("show", EXECUTION),
                    ("graph", EXECUTION, "--format", "json"), ("graph", EXECUTION)):  # fmt: skip
        assert told.from_log(*command, objects=copy) == told.from_server(*command), command

    # Whatever is changed of it is found.
    link = next(path for path in sorted(copy.glob("links/payments/one/i1/*.json")) if "-" in path.name)
    body = link.read_bytes()
    evidence = json.loads(body)
    evidence["verificationMaterial"]["tlogEntries"][0]["logIndex"] = "0"
    link.write_text(json.dumps(evidence))
    assert "link.invalid" in told.from_log("show", EXECUTION, objects=copy, expect=3)
    link.unlink()
    assert "link.gap" in told.from_log("show", EXECUTION, objects=copy, expect=3)


def test_a_statement_of_another_sidecar_is_refused(told):
    journal = Journal("three", instance="i3")
    made = journal.start("execution-of-three")
    client, session = told.sidecar("three")
    _, other = told.sidecar("two")
    evidence = other.sign(made.statement()).decode()
    refused(client.post(journal.path, json={"evidence": evidence}), 422, "link.invalid")
    refused(client.post(told.journal.path, json={"evidence": evidence}), 403, None)
    told.send(journal, client, session)
    assert sidecar_id("three") in json.dumps(told.run("lineage", "show", "execution-of-three"))


@pytest.mark.parametrize(
    ("arguments", "expect", "said"),
    [
        (("show", EXECUTION, "--from-log"), 2, "--from-log needs --objects (the object store) and --lineage-trust-co"),
        (
            ("show", EXECUTION, "--from-log", "--objects", "x", "--lineage-trust-config", "y"),
            2,
            "--from-log needs --domain (the sidecars' trust domain, placet.internal if `placet server init` was given "
            "none) and --identity-issuer (the control plane's address",
        ),
        (("show", EXECUTION, "--objects", "x"), 2, "belong to --from-log"),
        (
            ("show", "execution-of-nobody", "--server", "{server}", "--token-file", "{token}"),
            1,
            "no sidecar has stated",
        ),
        (("show", "short", "--server", "{server}", "--token-file", "{token}"), 2, "such as refunds-of-today-01"),
    ],
)
def test_bad_input_is_one_clear_line(told, arguments, expect, said):
    known = {"{server}": told.url, "{token}": str(told.token_file)}
    command = [PLACET, "lineage", *(known.get(one, one) for one in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, last_words(done.stderr).count("\n")) == (expect, "", 1), done.stderr
    assert said in done.stderr


def test_the_proof_of_an_execution_is_verified_without_a_server_and_nothing_of_it_can_be_changed(told, tmp_path):
    file = tmp_path / "proof.json"
    told.run("proof", "export", "--execution", EXECUTION, "-o", file)
    named = told.run("proof", "export", EXECUTION, "-o", tmp_path / "named.json")
    assert named["execution"] == EXECUTION
    assert (tmp_path / "named.json").read_bytes() == file.read_bytes()
    none = told.run("proof", "export", "nowhere-at-all-to-see", "-o", tmp_path / "none.json", expect=1)
    assert none == "placet: there is no decision and no execution nowhere-at-all-to-see\n"
    trust = ("--trust-config", told.sigstore.trust_config)
    names = ("--certificate-identity", sidecar_id("one"), "--certificate-oidc-issuer", told.url)
    names += ("--release-identity", DEVELOPER, "--release-oidc-issuer", told.sigstore.issuer_url)

    def verify(path, *more, expect=0):
        command = [PLACET, "proof", "verify", *map(str, (path, *trust, *(more or names))), "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == expect, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    proved = verify(file)
    assert (proved["proved"], proved["execution"], proved["outcome"]) == (True, EXECUTION, "completed")
    assert [one["kind"] for one in proved["links"]] == ["execution/start", "execution/step", "execution/end"]
    assert proved["links"][1]["products"] == {"artifact/report": digest("report")}
    assert {one["id"] for one in proved["decisions"]} == {"d1", "d2"}
    assert {one["signer"]["identity"] for one in proved["decisions"]} == {DEVELOPER}
    [release] = proved["releases"]
    source = {"uri": "git+https://code.example/policy", "commit": "4f" * 20, "changed": False}
    assert (release["digest"], release["sources"]) == (told.release, [source])
    verify(file, *names, "--source", "git+https://code.example/policy")
    untested = verify(file, *names, "--tests-passed", expect=3)
    assert (untested["proved"], untested["reason"], untested["field"]) == (False, "evidence.incomplete", "tests_passed")
    wrong = ("--certificate-identity", sidecar_id("two"), *names[2:])
    assert verify(file, *wrong, expect=3)["reason"] == "evidence.identity"

    spoilt = tmp_path / "spoilt.json"
    spoilt.write_text(json.dumps(json.loads(file.read_bytes())))
    assert verify(spoilt, expect=3)["reason"] == "proof.malformed"


def swapped(document):
    document["links"][1:3] = document["links"][2:0:-1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda document, _: document["links"].pop(1), "link.gap"),
        (lambda document, _: document["links"].pop(0), "link.gap"),
        (lambda document, _: swapped(document), "link.gap"),
        (lambda document, _: document["links"].append(document["links"][-1]), "link.fork"),
        (lambda document, other: document["links"].insert(1, other["links"][1]), "evidence.identity"),
        (lambda document, _: document["decisions"].pop(), "proof.missing"),
        (lambda document, _: document["decisions"].reverse(), "proof.malformed"),
        (lambda document, _: document["decisions"][0].update(index="7"), "proof.batch"),
        (lambda document, _: document["decisions"][0].update(record="e30="), "proof.leaf"),
        (lambda document, _: document["decisions"][0].update(release="sha256:" + "0" * 64), "proof.malformed"),
        (lambda document, _: document["decisions"][0].update(format="x"), "proof.malformed"),
        (lambda document, _: document["releases"].update({"sha256:" + "0" * 64: []}), "proof.malformed"),
        (lambda document, _: next(iter(document["releases"].values())).clear(), "evidence.missing"),
        (lambda document, _: document.update(more=1), "proof.malformed"),
        (lambda document, _: document.update(links=[]), "proof.malformed"),
    ],
)
def test_whatever_is_changed_in_a_proof_is_refused(told, change, reason):
    document, other = (told.api.get(f"/api/v1/executions/{one}/proof").json() for one in (EXECUTION, OTHER))
    change(document, other)
    with pytest.raises(Denied) as denied:
        told.prove(strict_json.canonical(document))
    assert str(denied.value.reason) == reason, denied.value


def test_links_that_rest_on_other_decisions_than_the_proof_holds_are_refused(told):
    """All of it is signed by a sidecar, so that nothing but the comparison of its parts can find it."""
    client, session = told.sidecar("four")
    chain = Chain("four", instance="i4")
    batch = chain.peek(told.inside("d8") + told.inside("d9")).change(closed_at=datetime.now(UTC))
    assert client.post(chain.path, json=signed(batch, session)).status_code == 200
    whole = told.api.get("/api/v1/decisions/d8/proof").content
    for named, policy, reason in (
        ([decision_ref("d7", Proof.read(whole).leaf)], told.release, "proof.leaf"),  # another decision's record
        ([Ref("decision/d8", digest("another leaf"))], told.release, "proof.missing"),
        ([decision_ref("d8", Proof.read(whole).leaf)], digest("another policy"), "proof.policy"),
    ):
        made = Journal("four", instance="i4", policy=policy).peek_start(EXECUTION, decisions=named)
        raw = ExecutionProof((session.sign(made.statement()),), (Proof.read(whole),)).write()
        with pytest.raises(Denied) as denied:
            told.prove(raw, "four")
        assert str(denied.value.reason) == reason, denied.value
    elsewhere = Journal("four", instance="i5").peek_start(
        EXECUTION, decisions=[decision_ref("d8", Proof.read(whole).leaf)]
    )
    raw = ExecutionProof((session.sign(elsewhere.statement()),), (Proof.read(whole),)).write()
    with pytest.raises(Denied, match=r"is of spiffe://.*, instance i4"):
        told.prove(raw, "four")


def test_without_its_end_it_is_the_proof_of_what_was_done_until_then(told):
    document = told.api.get(f"/api/v1/executions/{EXECUTION}/proof").json()
    assert told.prove(strict_json.canonical(document)).end is not None
    document["links"].pop()
    assert told.prove(strict_json.canonical(document)).end is None
