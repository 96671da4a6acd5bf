"""`placet bundle attest`: a signed test result of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.complaint import many
from app.core.files import read_bounded
from cli import outputs, signing
from cli.output import Output, OutputOption, emit, say
from cli.pinned_opa import OpaOption, pinned_opa
from cli.progress import busy
from cli.release_files import attestations_of

if TYPE_CHECKING:
    from app.core.attestation import Tested
    from app.core.attestation_claims import Claim

EPILOG = (
    "Example: placet bundle attest payments.tar.gz --tests policy --threshold 90 "
    "--trust-config trust-config.json --identity-token t.jwt"
)


def attest(
    bundle: Annotated[Path, typer.Argument(help="The bundle, a .tar.gz.", show_default=False)],
    tests: Annotated[
        list[Path], typer.Option("--tests", help="A directory that holds the tests (*_test.rego). Repeatable.")
    ],
    threshold: Annotated[
        float,
        typer.Option(min=0, max=100, metavar="PERCENT", help="Sign nothing when the tests reach less of the policy."),
    ] = 0,
    v0_compatible: Annotated[
        bool, typer.Option("--v0-compatible", help="The tests are older Rego (v0): convert them to today's.")
    ] = False,
    opa: OpaOption = None,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    identity_token: signing.IdentityTokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Test a bundle with OPA and sign the result: an in-toto test result, with the coverage.

    The tests run over the files that the bundle holds, not over those that lie beside the tests. When one fails, or
    there is none, nothing is signed. The statement is added to BUNDLE.attestations.jsonl, in place of your last one.
    """
    from app.core import archive, attestation, attestation_file, older_rego

    raw = read_bounded(bundle, archive.MAX_COMPRESSED, "the bundle")
    found, chosen = read_tests(tests), pinned_opa(opa)
    with busy("testing"):
        found = older_rego.convert(found, chosen) if v0_compatible else found
        tested = attestation.attest(raw, bundle.name, found, chosen, threshold=threshold)
    session = signing.session(trust_config, staging, identity_token)
    path = attestations_of(bundle)
    outputs.require(path)
    with busy("signing"):
        signed = session.sign(tested.statement)
    left_out = 0

    def with_result(existing: list[bytes]) -> list[bytes]:
        nonlocal left_out
        kept, left_out = attestation_file.kept(existing, lambda one, raw: not replaced(one, raw, tested.digest, signed))
        return [*kept, signed]

    attestation_file.change(path, with_result)
    if left_out:
        what = many(left_out, "attestation")
        say(f"left out of {path.name}: {what}, of another bundle or an earlier test result of yours")
    emit(_summary(tested) | {"identity": session.identity, "issuer": session.issuer}, output)


def replaced(one: Claim, raw: bytes, digest: str, signed: bytes) -> bool:
    """Whether an attestation goes when a test result is added: one of another bundle, or the signer's last result.

    Links stay: of other steps they are about other things.
    """
    from app.core import statements
    from app.core.evidence import claimed_signer

    if digest not in one.subjects:
        return one.step is None
    mine = one.predicate_type == statements.TEST_RESULT
    return mine and claimed_signer(raw, "attestation") == claimed_signer(signed, "attestation")


def read_tests(directories: list[Path]) -> dict[str, bytes]:
    """The tests in some directories by path, each relative to its own. Raises `UsageError`."""
    from app.core import archive
    from app.core.errors import UsageError

    found: dict[str, bytes] = {}
    left = archive.MAX_DECOMPRESSED
    for directory in directories:
        if not directory.is_dir():
            raise UsageError(f"{directory} is not a directory; --tests names the one that holds *_test.rego")
        for path in sorted(directory.rglob("*_test.rego")):
            name = path.relative_to(directory).as_posix()
            if any(part.startswith(".") for part in name.split("/")):
                continue  # OPA would not load it either
            if path.is_symlink() or not path.is_file():
                raise UsageError(f"{path} is not a regular file; put the file itself there")
            if name in found:
                raise UsageError(f"two directories of tests hold {name}; rename one")
            found[name] = read_bounded(path, left, "a file of tests")
            left -= len(found[name])
            if len(found) > archive.MAX_MEMBERS:
                raise UsageError(f"{directory} holds more than {archive.MAX_MEMBERS} files of tests")
    return found


def _summary(tested: Tested) -> dict[str, object]:
    return {
        "digest": tested.digest,
        "passed": tested.report.count("passed"),
        "skipped": tested.report.count("skipped"),
        "coverage": tested.coverage.percent,
    }
