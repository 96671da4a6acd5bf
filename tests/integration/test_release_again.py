"""A release that is verified again: its Rego is not compiled again, and everything about trust is verified anew."""

import pytest

from app.core.opa import Opa
from app.core.passed_checks import PassedChecks
from app.core.reason_codes import Reason
from app.core.rego_reader import RegoReader

from .release_kit import bundle, provenance, signed_release


@pytest.fixture
def asked(sigstore, opa_binary, monkeypatch):
    """The release, and what OPA was asked since."""
    release = signed_release(sigstore, opa_binary)
    monkeypatch.setattr(release.opa, "passed", PassedChecks(release.opa.binary))
    commands = []
    run, read = Opa.run, RegoReader.read

    def noted(self, arguments, **options):
        commands.append(arguments[0])
        return run(self, arguments, **options)

    def noted_read(self, *arguments):
        commands.append("read")
        return read(self, *arguments)

    monkeypatch.setattr(Opa, "run", noted)
    monkeypatch.setattr(RegoReader, "read", noted_read)
    return release, commands


def test_opa_is_asked_once(asked):
    release, commands = asked
    first = release.verify()
    assert "read" in commands
    commands.clear()
    assert release.verify().digest == first.digest
    assert commands == []
    release.verify(policy=release.allow(allowed_builtins=["rand.intn"]))  # another question
    assert "read" in commands


def test_trust_is_never_remembered(asked):
    release, _ = asked
    release.verify()
    assert release.denial(policy=release.allow("other@example.org")).reason == Reason.EVIDENCE_IDENTITY
    assert release.denial(signature=release.other_signature).reason == Reason.EVIDENCE_SUBJECT
    assert release.denial(signature=b"").reason == Reason.EVIDENCE_MISSING


def test_a_denial_is_not_remembered(asked):
    release, commands = asked
    broken = bundle("allow := nothing(1)")
    signature = release.session.sign(provenance(broken))
    for _ in range(2):
        commands.clear()
        denied = release.denial(bundle=broken, signature=signature, attestations=[])
        assert denied.reason == Reason.REGO_COMPILE
        assert "check" in commands
