"""The independent verifier in docs/verify-go, written in Go and without our code, gives our verdict on every proof."""

import base64
import json
import os
import random
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.core.errors import Denied
from app.core.proof import verify
from app.core.proof_form import Proof
from app.core.trust import TrustConfig
from app.core.verification_policy import VerificationPolicy
from app.local import tools
from app.local.tools import go
from app.local.tools.pins import TOOLS, Tool

from .proof_demands import TESTS, Demanded, demanded
from .proof_kit import ended_trust, good_proofs, tampered
from .proof_parts import COMMIT, EXECUTION, LIBRARY, POLICY, STATE
from .proof_stand import Stand
from .proof_tampering import edited

SOURCES = Path(__file__).parents[2] / "docs" / "verify-go"

# The first to ask builds it into the cache of the tools; with an empty build cache that takes minutes.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]


class VerifyGo(Tool):
    """A tool whose pins lie with its sources, for auditors, and that nothing but this test builds."""

    @property
    def directory(self):
        return SOURCES


@pytest.fixture(scope="module")
def binary():
    with pytest.MonkeyPatch.context() as patch:
        verifier = VerifyGo("verify-go", "verify-go", "placet.dev/verify-go", "github.com/sigstore/sigstore-go")
        patch.setitem(TOOLS, verifier.name, verifier)
        return tools.install([verifier.name])[verifier.name]


class Files:
    """Proofs and trust configs of a Sigstore that no longer runs: a verifier needs no server."""

    def __init__(self, directory):
        with Stand(directory / "sigstore") as stand:
            self.good = good_proofs(stand)
            self.tampered = {name: raw for name, (raw, _) in tampered(stand).items()}
            self.demanded = demanded(stand)
            self.ended, self.ending = ended_trust(stand), ended_trust(stand, hours=1)
        self.trust_config, self.sidecar, self.releaser = stand.trust_config, stand.sidecar, stand.releaser
        self.directory = directory

    def write(self, name, raw):
        path = self.directory / name
        path.write_bytes(raw)
        return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("proofs"))


@pytest.fixture(scope="module")
def run(binary, files):
    """The process that verifies a proof, with some options changed, or left out with None."""

    def verify_go(raw, **changed):
        options = {
            "trusted_root": files.trust_config,
            "sidecar_identity": files.sidecar.identity,
            "sidecar_issuer": files.sidecar.issuer,
            "release_identity": files.releaser.identity,
            "release_issuer": files.releaser.issuer,
            **changed,
        }
        given = [
            f"--{name.replace('_', '-')}={value}"
            for name, values in options.items()
            for value in (values if isinstance(values, tuple) else (values,))
            if value is not None
        ]
        path = files.write(f"{random.randbytes(8).hex()}.json", raw)
        done = subprocess.run([binary, *given, path], capture_output=True, text=True, timeout=60, env={})
        path.unlink()
        return done

    return verify_go


@pytest.fixture(scope="module")
def holds(run):
    """Whether the Go verifier accepts a proof. It refuses with one line and exit code 3."""

    def accepted(raw, **changed):
        done = run(raw, **changed)
        if done.returncode == 0:
            assert done.stderr == ""
            assert json.loads(done.stdout)["sequence"] >= 0
            return True
        assert (done.returncode, done.stdout) == (3, ""), done.stderr
        assert done.stderr.startswith("verify-go: ")
        assert done.stderr.count("\n") == 1
        return False

    return accepted


@pytest.fixture(scope="module")
def ours(files):
    """Whether our own verifier accepts a proof."""

    def accepted(raw, trusted_root=files.trust_config):
        trust = TrustConfig.from_file(trusted_root)
        try:
            verify(
                Proof.read(raw),
                sidecars=VerificationPolicy(identities=[files.sidecar]),
                releases=VerificationPolicy(identities=[files.releaser]),
                lineage=trust,
                trust=trust,
            )
        except Denied:
            return False
        return True

    return accepted


def verdicts(verifier, proofs):
    """The verifier's verdict on each of the proofs, by name."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(proofs, pool.map(verifier, proofs.values()), strict=True))


def test_every_good_proof_is_accepted(files, holds, ours):
    assert verdicts(holds, files.good) == dict.fromkeys(files.good, True)
    assert all(ours(raw) for raw in files.good.values())


def test_no_tampered_proof_is_accepted(files, holds, ours):
    assert verdicts(holds, files.tampered) == dict.fromkeys(files.tampered, False)
    assert not any(ours(raw) for raw in files.tampered.values())


def test_what_must_be_proved_of_source_and_tests(files, run):
    """Both verifiers demand the same, and name the same step."""

    def verdict(one):
        demands = {"tests_passed": "true" if one.wanted.tests_passed else None, "source": one.wanted.sources}
        done = run(one.raw, **demands)
        if done.returncode == 0:
            return None
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1), done.stderr
        return done.stderr.removeprefix("verify-go: ").partition(": ")[0]

    assert verdicts(verdict, files.demanded) == {name: one.step for name, one in files.demanded.items()}
    nothing = {name: Demanded(one.raw, type(TESTS)(), None, None) for name, one in files.demanded.items()}
    assert verdicts(verdict, nothing) == dict.fromkeys(nothing)


def flipped(raw, where, bit):
    """A proof with one bit of the batch's timestamp changed."""

    def edit(proof):
        stamp = proof["batch"]["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]
        der = bytearray(base64.b64decode(stamp["signedTimestamp"]))
        der[where % len(der)] ^= 1 << bit
        stamp["signedTimestamp"] = base64.b64encode(der).decode()

    return edited(raw, edit)


def test_no_bit_of_a_timestamp_may_change(files, holds):
    """CMS signs neither its versions nor the names of its algorithms, and sigstore-go compares none of them.

    Ours lets the name of the signature's algorithm pass: the time is signed, and stays.
    """
    chance = random.Random(20261126)
    whole = [(where, chance.randrange(8)) for where in (*range(80), *range(-90, 0))]
    inside = [(chance.randrange(80, 1300), chance.randrange(8)) for _ in range(60)]
    proofs = {place: flipped(files.good["allow"], *place) for place in (*whole, *inside)}
    assert verdicts(holds, proofs) == dict.fromkeys(proofs, False)


def test_bytes_at_random(files, holds, ours):
    chance = random.Random(20261127)
    proofs = {}
    for number in range(100):
        raw = bytearray(chance.choice([files.good["one-statement"], files.good["erased"]]))
        for _ in range(chance.choice([1, 1, 2, 5])):
            raw[chance.randrange(len(raw))] ^= chance.randrange(1, 256)
        proofs[number] = bytes(raw)
    assert verdicts(holds, proofs) == dict.fromkeys(proofs, False)
    assert not any(ours(raw) for raw in proofs.values())


@pytest.mark.parametrize("part", ["certificateAuthorities", "ctlogs", "tlogs", "timestampAuthorities"])
def test_what_was_signed_after_a_key_was_trusted(files, holds, ours, part):
    proof = files.good["allow"]
    ended = files.write(f"ended-{part}.json", files.ended[part])
    ending = files.write(f"ending-{part}.json", files.ending[part])
    assert not holds(proof, trusted_root=ended)
    assert not ours(proof, ended)
    assert holds(proof, trusted_root=ending)
    assert ours(proof, ending)


def test_batches_and_releases_may_have_trusted_roots_of_their_own(files, holds):
    proof, erased = files.good["allow"], files.good["erased"]
    ended = files.write("ended.json", files.ended["tlogs"])
    assert holds(proof, lineage_trusted_root=files.trust_config)
    assert not holds(proof, lineage_trusted_root=ended)
    assert not holds(proof, trusted_root=ended, lineage_trusted_root=files.trust_config)
    assert holds(erased, trusted_root=ended, lineage_trusted_root=files.trust_config)


def test_a_trusted_root_may_stand_alone(files, holds):
    bare = json.dumps(json.loads(files.trust_config.read_bytes())["trustedRoot"]).encode()
    assert holds(files.good["allow"], trusted_root=files.write("bare.json", bare))


@pytest.mark.parametrize(
    "changed",
    [
        {"sidecar_identity": "spiffe://example.org/sidecar/payments/b"},
        {"sidecar_identity": "spiffe://example.org/sidecar/payments/.*"},
        {"sidecar_identity": "spiffe://example.org/sidecar/payments/"},
        {"sidecar_issuer": "https://issuer.example.org"},
        {"release_identity": "stranger@example.org"},
        {"release_identity": "ev@example.org"},
        {"release_identity": ".*"},
        {"release_issuer": "https://issuer.example.org"},
    ],
)
def test_names_are_compared_whole(files, holds, changed):
    assert not holds(files.good["allow"], **changed)


def test_what_is_proved(files, run):
    done = run(files.good["start"])
    summary = json.loads(done.stdout)
    assert summary.pop("not_after").endswith("Z")
    log = summary.pop("log")
    assert (log["origin"], log["index"] < log["size"]) == ("127.0.0.1", True)
    assert summary == {
        "sidecar": files.sidecar.identity,
        "instance": "0f" * 16,
        "sequence": 4,
        "erased": False,
        "decision_id": "00000000-0000-4000-8000-000000000004",
        "allow": True,
        "policy": POLICY,
        "library": LIBRARY,
        "state": STATE,
        "execution": EXECUTION,
        "release": {
            "signer": files.releaser.identity,
            "issuer": files.releaser.issuer,
            "statements": [
                "https://slsa.dev/provenance/v1",
                "https://in-toto.io/attestation/link/v0.3",
                "https://in-toto.io/attestation/test-result/v0.1",
            ],
            "sources": [{"uri": "git+https://git.example.org/policies", "commit": COMMIT, "changed": False}],
            "tests": [{"result": "PASSED", "passed": True, "coverage": None}],
        },
        "sidecar_issuer": files.sidecar.issuer,
    }
    message = json.loads(run(files.good["message"]).stdout)
    assert [message[name] for name in ("sequence", "decision_id", "allow", "policy")] == [2, None, None, ""]
    erased = json.loads(run(files.good["erased"]).stdout)
    assert erased["erased"] is True
    assert [erased[name] for name in ("sequence", "decision_id", "allow", "policy")] == [0, None, None, ""]


@pytest.mark.parametrize("raw", [b"", b"{}", b"null", b"[" * 1_000_000, b'{"batch":' * 100_000, bytes(1000)])
def test_what_is_no_proof(raw, holds):
    assert not holds(raw)


@pytest.mark.parametrize(
    "changed",
    [
        {"trusted_root": None},
        {"trusted_root": "/nonexistent"},
        {"trusted_root": SOURCES / "go.mod"},
        {"lineage_trusted_root": "/nonexistent"},
        {"sidecar_identity": None},
        {"sidecar_issuer": None},
        {"release_identity": None},
        {"release_issuer": ""},
        {"unknown": "option"},
        {"source": "git+https://git.example.org"},
    ],
)
def test_wrong_usage(files, run, changed):
    done = run(files.good["allow"], **changed)
    assert (done.returncode, done.stdout) == (2, "")
    assert {"unknown", "source"} & set(changed) or (
        done.stderr.startswith("verify-go: ") and done.stderr.count("\n") == 1
    )


def test_wrong_usage_without_one_proof(binary, files):
    for arguments in ([], ["/nonexistent"], [files.trust_config, files.trust_config]):
        done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_log_that_a_trusted_root_lists_twice_is_refused(files, run):
    config = json.loads(files.trust_config.read_bytes())
    config["trustedRoot"]["tlogs"] *= 2
    twice = files.write("twice.json", json.dumps(config).encode())
    assert run(files.good["allow"], trusted_root=twice).returncode == 2


def test_its_readme_names_its_options(binary):
    usage = subprocess.run([binary, "-help"], capture_output=True, text=True, timeout=60, check=True).stderr
    options = {f"-{name}" for name in re.findall(r"^  -([a-z-]+)", usage, re.MULTILINE)}
    assert set(re.findall(r"`-(-[a-z-]+)`", (SOURCES / "README.md").read_text())) == options


def test_it_is_short_formatted_and_vetted(binary, tmp_path):
    toolchain = go.find_go((1, 26), print).binary
    environment = go.environment(tmp_path)
    formatted = subprocess.run(
        [toolchain.parent / "gofmt", "-l", SOURCES], capture_output=True, text=True, timeout=60, check=True
    )
    assert (formatted.stdout, formatted.stderr) == ("", "")
    subprocess.run([toolchain, "vet", "-trimpath", "."], cwd=SOURCES, env=environment, timeout=600, check=True)
    lengths = {path.name: len(path.read_text().splitlines()) for path in SOURCES.glob("*.go")}
    assert lengths.keys() == {"main.go", "release.go", "execution.go"}
    assert lengths["main.go"] <= 270, lengths  # proofs of decisions; apart is what is judged of source and tests,
    assert lengths["release.go"] <= 100, lengths  # and what proofs of executions need besides
    assert lengths["execution.go"] <= 230, lengths
