"""What a build refuses, the verifier refuses too, however well it is signed: anything may have built the bundle."""

import pytest

from app.core import archive, strict_json
from app.core.reason_codes import Reason

from .release_kit import provenance, signed_release

pytestmark = pytest.mark.stack

RULE = b"package app\n\ndefault allow := false\n"


@pytest.fixture(scope="module")
def release(sigstore, opa_binary):
    return signed_release(sigstore, opa_binary)


def packed(more=None, roots=("app",), entrypoint="app/allow"):
    manifest = {"roots": list(roots), "metadata": {"placet": {"entrypoint": entrypoint}}}
    return archive.write_archive({".manifest": strict_json.canonical(manifest), "a.rego": RULE, **(more or {})})


def signed(release, bundle, **policy):
    signature = release.session.sign(provenance(bundle))
    return {"bundle": bundle, "signature": signature, "attestations": [], "policy": release.allow(**policy)}


@pytest.mark.parametrize(
    ("bundle", "reason", "step", "field"),
    [
        (packed(roots=[""]), Reason.MANIFEST_ROOTS, "bundle", "roots"),
        (packed(roots=["app", "app/x"]), Reason.MANIFEST_ROOTS, "bundle", "roots"),
        (packed(roots=["app "]), Reason.MANIFEST_ROOTS, "bundle", "roots"),
        (packed(roots=["app", "system"]), Reason.MANIFEST_ROOTS_RESERVED, "bundle", "roots"),
        (packed({"patch.json": b'{"data": []}'}), Reason.ARCHIVE_STRAY, "bundle", "patch.json"),
        (packed({"a.rego~": b""}), Reason.ARCHIVE_STRAY, "bundle", "a.rego~"),
        (packed({"x.yaml": b""}), Reason.ARCHIVE_STRAY, "bundle", "x.yaml"),
        (packed({"b.rego": b"package other\n"}), Reason.REGO_OUTSIDE_ROOTS, "rego", "b.rego"),
        (packed({"b.rego": b"package system.log\n"}), Reason.REGO_OUTSIDE_ROOTS, "rego", "b.rego"),
        (packed(entrypoint="app/none"), Reason.MANIFEST_ENTRYPOINT, "rego", "metadata.placet.entrypoint"),
        (
            packed({"b.rego": b"package app\n\nx := time.clock([1, input.zone])\n"}),
            Reason.REGO_NONDETERMINISTIC,
            "rego",
            "b.rego",
        ),
        *(
            (packed({"b.rego": b"package app\n\n" + rule + b"\n"}), Reason.REGO_NONDETERMINISTIC, "rego", "b.rego")
            for rule in (
                b'tag if data.system.bundles.placet.etag != ""',
                b"decided if data.placet.decision.allow",
                b"state := data.placet_state.digest",
                b'known := io.jwt.decode_verify(input.t, {"cert": "k", "alg": input.alg, "time": time.now_ns()})',
                b"fits if glob.match(input.pattern, input.delimiters, input.text)",
            )
        ),
    ],
)
def test_a_signed_bundle_that_no_build_would_give(release, bundle, reason, step, field):
    denied = release.denial(**signed(release, bundle))
    assert (denied.reason, denied.step, denied.field) == (reason, step, field)


def test_builtins_that_the_systems_policy_allows(release):
    dice = packed({"b.rego": b'package app\n\nroll := rand.intn("dice", 6)\n'})
    assert release.denial(**signed(release, dice)).reason == Reason.REGO_COMPILE
    assert release.denial(**signed(release, dice, allowed_builtins=["uuid.rfc4122"])).reason == Reason.REGO_COMPILE
    verified = release.verify(**signed(release, dice, allowed_builtins=["rand.intn"]))
    assert verified.manifest.entrypoint == "app/allow"
