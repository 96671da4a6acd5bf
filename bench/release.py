"""What a release costs: building beside `opa build`, verifying beside cosign and sigstore-python, and their memory.

Three policies: the payments example, and 10,000 rules in one module and in a hundred. Rivals alternate, in one run.
Verifying is the one verifier in process, as control plane and sidecar call it, on releases that a real Sigstore signed:
`first` is a release that this process has not seen, `expected` the same where a process of OPA waits for it, as in the
control plane, and `again` any later time, when only what the bundle's bytes and OPA decide is not asked again. `placet`
and `cosign` are commands, from start to end. All figures are the least of several. A round of `placet policy watch` is
what follows a save.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import building, determinism, statements
from app.core.bundle import digest_of, parse_bundle
from app.core.errors import PlacetError
from app.core.evidence import verify_evidence
from app.core.evidence_form import checked_form
from app.core.opa import Opa
from app.core.passed_checks import PassedChecks
from app.core.shipped import shipped
from app.core.signing import SigningSession
from app.core.trust import TrustConfig
from app.core.verification import verify_release
from app.core.verification_policy import SignerIdentity, VerificationPolicy
from app.local.sigstore import LocalSigstore
from app.local.tools import installed
from bench import memory, result

AIMS = {
    "payments, verify: aim of 15 ms / again": 1.0,
    "payments, verify: aim of 15 ms / expected": 1.0,
    "payments, verify: cosign/again": 1.0,
}

_SIGNER = "dev@example.org"
_RULES = 10_000

#: What one measured call took: seconds, and seconds of CPU with those of its processes.
Cost = tuple[float, float]


def policies(directory: Path) -> Iterator[tuple[str, Path]]:
    """The policies to build: name and directory."""
    yield "payments", Path(shutil.copytree(shipped("bundles") / "payments", directory / "payments"))
    for name, count in ((f"{_RULES:,} rules in 1 module", 1), (f"{_RULES:,} rules in 100 modules", 100)):
        here = directory / f"rules-{count}"
        here.mkdir()
        manifest = {"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/m0/allow"}}}
        (here / ".manifest").write_text(json.dumps(manifest))
        for number in range(count):
            rules = "".join(
                f'allow if {{ input.user == "u{rule}"; input.action == "a{rule % 7}" }}\n'
                for rule in range(number * _RULES // count, (number + 1) * _RULES // count)
            )
            (here / f"m{number}.rego").write_text(f"package app.m{number}\n\ndefault allow := false\n\n{rules}")
        yield name, here


@dataclass(frozen=True)
class Release:
    """A directory with a signed bundle, and what verifies it."""

    directory: Path

    @classmethod
    def signed(cls, bundle: bytes, directory: Path, sigstore: LocalSigstore) -> Release:
        """Sign a bundle's provenance as the developer."""
        directory.mkdir()
        trust = TrustConfig.from_file(sigstore.trust_config)
        begun, done = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"
        subject = statements.resource("bundle.tar.gz", digest_of(bundle))
        session = SigningSession(trust, sigstore.token(_SIGNER))
        policy = VerificationPolicy(identities=[SignerIdentity(identity=_SIGNER, issuer=sigstore.issuer_url)])
        signature = session.sign(statements.provenance(subject, sources=[], manifest={}, started=begun, finished=done))
        (directory / "bundle.tar.gz").write_bytes(bundle)
        (directory / "bundle.tar.gz.sigstore.json").write_bytes(signature)
        (directory / "trust.json").write_bytes(sigstore.trust_config.read_bytes())
        (directory / "root.json").write_text(json.dumps(json.loads(sigstore.trust_config.read_text())["trustedRoot"]))
        (directory / "policy.json").write_text(policy.model_dump_json(exclude_defaults=True))
        return cls(directory)

    @property
    def bundle(self) -> bytes:
        """The bundle as it is stored."""
        return (self.directory / "bundle.tar.gz").read_bytes()

    @property
    def signature(self) -> bytes:
        """The Sigstore bundle over its provenance."""
        return (self.directory / "bundle.tar.gz.sigstore.json").read_bytes()

    @property
    def policy(self) -> VerificationPolicy:
        """Who may sign."""
        return VerificationPolicy.model_validate_json((self.directory / "policy.json").read_bytes())

    @property
    def trust(self) -> TrustConfig:
        """The Sigstore that signed it."""
        return TrustConfig.from_file(self.directory / "trust.json")

    @property
    def arguments(self) -> list[str]:
        """What `placet bundle` takes to verify it."""
        files = {name: str(self.directory / name) for name in ("bundle.tar.gz", "policy.json", "trust.json")}
        verify = ["verify", files["bundle.tar.gz"], "--policy", files["policy.json"]]
        return [*verify, "--trust-config", files["trust.json"]]

    def cosign(self, binary: Path) -> None:
        """Verify it with cosign."""
        issuer = self.policy.identities[0].issuer
        _run(
            binary, "verify-blob-attestation", "--trusted-root", "root.json", "--use-signed-timestamps",
            "--certificate-identity", _SIGNER, "--certificate-oidc-issuer", issuer, "--type", "slsaprovenance1",
            "--bundle", "bundle.tar.gz.sigstore.json", "bundle.tar.gz", cwd=self.directory,
        )  # fmt: skip


def _run(binary: Path, *arguments: str, cwd: Path | None = None) -> None:
    done = subprocess.run([str(binary), *arguments], cwd=cwd, capture_output=True, timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{binary.name} {arguments[0]} failed: {done.stderr.decode(errors='replace')[:500]}")


def _opa_build(policy: Path, out: str) -> list[str]:
    return ["build", "-b", str(policy), "--ignore", "*_test.rego", "--ignore", "*.yaml", "-o", out]


def builders(policy: Path, opa: Opa, out: str) -> dict[str, Callable[[], Any]]:
    """Ours, in process, and OPA's."""
    return {
        "ours": lambda: building.build(policy, opa),
        "opa build": lambda: _run(opa.binary, *_opa_build(policy, out)),
    }


def cost(work: Callable[[], Any]) -> Cost:
    """Do it once."""
    wall, cpu = time.perf_counter(), _cpu()
    work()
    return time.perf_counter() - wall, _cpu() - cpu


def _cpu() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def side_by_side(times: int, rivals: Mapping[str, Callable[[], Any]]) -> dict[str, Cost]:
    """Each in turn, `times` times: the least seconds of each, wall and CPU."""
    costs: dict[str, list[Cost]] = {name: [] for name in rivals}
    for _ in range(times):
        for name, work in rivals.items():
            costs[name].append(cost(work))
    return {name: (min(one[0] for one in some), min(one[1] for one in some)) for name, some in costs.items()}


def verifiers(release: Release, opa: Opa) -> dict[str, Callable[[], Any]]:
    """The whole verification and its parts, and the rivals."""
    from sigstore.models import Bundle
    from sigstore.verify import policy as sigstore_policy

    bundle, signature, policy, trust = release.bundle, release.signature, release.policy, release.trust
    parsed, digest = parse_bundle(bundle), digest_of(bundle)
    modules = opa.inspect(parsed.modules)
    given = ["--opa", str(opa.binary)]
    signer = sigstore_policy.Identity(identity=_SIGNER, issuer=policy.identities[0].issuer)

    busy = Opa(opa.binary, busy=True)
    busy.expect()

    def whole(checker: Opa = opa) -> None:
        verify_release(bundle, signature, [], policy=policy, trust=trust, opa=checker)

    def first(checker: Opa = opa) -> None:
        checker.passed = PassedChecks(opa.binary)
        whole(checker)

    works: dict[str, Callable[[], Any]] = {
        "first": first,
        "expected": lambda: first(busy),
        "again": whole,
        "sigstore-python": lambda: trust.verifier.verify_dsse(Bundle.from_json(signature), signer),
        "part: evidence": lambda: verify_evidence(signature, subject=digest, policy=policy, trust=trust, step="s"),
        "part: form of the evidence": lambda: checked_form(signature, "s"),
        "part: digest and archive": lambda: (digest_of(bundle), parse_bundle(bundle)),
        "placet": lambda: _run(Path(sys.executable).with_name("placet"), "bundle", *release.arguments, *given),
        "part: OPA compiles and parses": lambda: opa.accepted(parsed.modules),
        "part: OPA compiles": lambda: opa.check(parsed.modules),
        "part: OPA parses": lambda: opa.inspect(parsed.modules),
        "part: determinism": lambda: determinism.check(modules, parsed.modules, opa),
    }
    try:
        cosign = installed("cosign")
    except PlacetError:
        result.say("cosign is not built: it is left out")
    else:
        works["cosign"] = lambda: release.cosign(cosign)
    return works


def watching(directory: Path, opa: Opa) -> dict[str, Callable[[], Any]]:
    """What follows a save, and OPA alone doing the same."""
    from app.core.policy_project import load
    from app.core.policy_tests import run_tests
    from app.core.policy_watching import changed, pattern, stamps

    seen = stamps(directory)
    path = next(name for name in seen if name.endswith(".rego") and not name.endswith("_test.rego"))

    def a_round() -> None:
        changed(seen, stamps(directory))
        project = load(directory)
        if run_tests(project, opa, pattern=pattern(project, {path})).failed:
            raise SystemExit("the example's tests fail")

    return {"round": a_round, "opa test": lambda: _run(opa.binary, "test", str(directory))}


def peaks(policy: Path, release: Release, binary: Path, out: str) -> dict[str, float]:
    """MB of the commands that build and verify, with all their processes."""
    placet = [str(Path(sys.executable).with_name("placet")), "bundle"]
    return {
        "build": memory.peak([*placet, "build", str(policy), "-o", out, "--opa", str(binary)]),
        "opa build": memory.peak([str(binary), *_opa_build(policy, out)]),
        "verify": memory.peak([*placet, *release.arguments, "--opa", str(binary)]),
    }


def main() -> None:
    """Run the benchmark and print its report."""
    options = result.options(__doc__).parse_args()
    binary = result.opa_of(options)
    figures, ratios = measure(binary, options.quick)
    result.show("release", figures, ratios, AIMS, options.output)


def measure(binary: Path, quick: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Figures in ms and MB, and their ratios."""
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}

    def note(about: str, costs: Mapping[str, Cost]) -> None:
        for name, (wall, cpu) in costs.items():
            result.say(f"{about}: {name}: {1000 * wall:,.1f} ms, CPU {1000 * cpu:,.1f} ms")
            figures[f"{about}: {name}, ms"] = 1000 * wall
            figures[f"{about}: {name}, CPU ms"] = 1000 * cpu

    opa = Opa(binary)
    with tempfile.TemporaryDirectory(prefix="placet-bench-") as scratch, LocalSigstore(Path(scratch) / "s") as sigstore:
        out = f"{scratch}/built.tar.gz"
        for name, policy in list(policies(Path(scratch)))[: 2 if quick else None]:
            turns = (7 if quick else 30) if name == "payments" else (1 if quick else 7)
            built = side_by_side(turns, builders(policy, opa, out))
            note(f"{name}, build", built)
            ratios[f"{name}, build: opa build/ours"] = built["opa build"][0] / built["ours"][0]
            ratios[f"{name}, build: CPU of opa build/ours"] = built["opa build"][1] / built["ours"][1]

            release = Release.signed(building.build(policy, opa).bundle, policy.with_suffix(".release"), sigstore)
            verified = side_by_side(turns, verifiers(release, opa))
            note(f"{name}, verify", verified)
            for kind in ("first", "expected", "again"):
                ratios[f"{name}, verify: aim of 15 ms / {kind}"] = 0.015 / verified[kind][0]
                for rival in {"cosign", "sigstore-python"} & verified.keys():
                    ratios[f"{name}, verify: {rival}/{kind}"] = verified[rival][0] / verified[kind][0]

            for what, megabytes in peaks(policy, release, binary, out).items():
                result.say(f"{name}: {what}: {megabytes:,.0f} MB")
                figures[f"{name}: {what}, peak MB"] = megabytes
            if name == "payments":
                watched = side_by_side(turns, watching(policy, opa))
                note("payments, watch", watched)
                ratios["payments, watch: opa test/round"] = watched["opa test"][0] / watched["round"][0]
    return _rounded(figures, 2), _rounded(ratios, 3)


def _rounded(values: Mapping[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}


if __name__ == "__main__":
    main()
