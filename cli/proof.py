"""`placet proof`: one file that proves one decision, or one execution, to anybody, without a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.errors import Denied, PlacetError, UsageError
from app.core.files import read_bounded, write_atomically
from cli import client, proof_execution
from cli.api_path import api
from cli.output import Output, OutputOption, emit

if TYPE_CHECKING:
    from app.core.proof import Proven, ProvenRelease
    from app.core.proof_form import Proof
    from app.core.proof_policy import ProofPolicy
    from app.core.trust import TrustConfig

app = typer.Typer()

ProofArgument = Annotated[Path, typer.Argument(help="The proof file.", show_default=False)]
NOT_SHOWN = "not shown"


@app.command(
    epilog="Example: placet proof export 4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e -o proof.json  ·  "
    "placet proof export --execution 018f3c5e7a2b4c6d8e -o proof.json",
    context_settings=client.TAKES_AN_ID,
)
def export(
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the proof.")],
    decision: Annotated[
        str | None, typer.Argument(metavar="[DECISION]", help="The decision's id.", show_default=False)
    ] = None,
    execution: Annotated[
        str | None, typer.Option(metavar="ID", help="An execution, in place of a decision.", show_default=False)
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="The execution's system, where its id stands in several.", show_default=False)
    ] = None,
    sidecar: Annotated[str | None, typer.Option(help="Its sidecar, likewise.", show_default=False)] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Fetch the proof of one decision or execution. The file holds records: it is written for you alone."""
    if (decision is None) == (execution is None):
        raise UsageError("say what to prove: a decision's id, or --execution ID")
    with client.connect(server, token_file) as plane:
        if execution is not None:
            path = api("executions", execution, "proof")
            answer = plane.get(path, system=system, sidecar=sidecar)
        else:
            answer = plane.get(api("decisions", decision or "", "proof"))
    raw = _canonical(answer)
    if execution is not None:
        from app.core.execution_proof import claimed_links
        from app.core.execution_proof_form import ExecutionProof

        links = claimed_links(ExecutionProof.read(raw))
        if links[0].execution != execution:
            raise PlacetError(f"the control plane answered with the proof of another execution, {links[0].execution}")
        write_atomically(out, raw)
        emit({"execution": execution, "proof": str(out), "bytes": len(raw), "links": len(links)}, output)
        return
    from app.core.proof_form import Proof

    proof = Proof.read(raw)
    _require_same(proof, decision or "")
    write_atomically(out, raw)
    emit({"decision": decision, "proof": str(out), "bytes": len(raw), "erased": proof.record is None}, output)


@app.command(
    epilog="Example: placet proof verify proof.json --trust-config trust-config.json "
    "--certificate-identity spiffe://example.org/sidecar/payments/a "
    "--certificate-oidc-issuer https://placet.example.org "
    "--release-identity dev@example.org --release-oidc-issuer https://accounts.example.org"
)
def verify(
    proof: ProofArgument,
    trust_config: Annotated[
        Path, typer.Option("--trust-config", help="The Sigstore that vouches for releases (ClientTrustConfig).")
    ],
    lineage_trust_config: Annotated[
        Path | None,
        typer.Option("--lineage-trust-config", help="The Sigstore that vouches for batches. Default: the same."),
    ] = None,
    certificate_identity: Annotated[
        str | None, typer.Option("--certificate-identity", help="The sidecar that may sign batches.")
    ] = None,
    certificate_oidc_issuer: Annotated[
        str | None, typer.Option("--certificate-oidc-issuer", help="The issuer of the sidecar's identity.")
    ] = None,
    release_identity: Annotated[
        str | None, typer.Option("--release-identity", help="The identity that may sign releases.")
    ] = None,
    release_oidc_issuer: Annotated[
        str | None, typer.Option("--release-oidc-issuer", help="The issuer of that identity.")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="YAML {sidecars: [{identity, issuer}], releases: […]}, in place of the four."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a proof and print what it proves. Needs these files and no network. Exit code 3 when it is denied."""
    from app.core.execution_proof_form import MAX_PROOF
    from app.core.proof_policy import ProofPolicy
    from app.core.trust import TrustConfig

    rules = ProofPolicy.of(
        (certificate_identity, certificate_oidc_issuer), (release_identity, release_oidc_issuer), policy
    )
    trust = TrustConfig.from_file(trust_config)
    lineage = TrustConfig.from_file(lineage_trust_config) if lineage_trust_config else trust
    raw = read_bounded(proof, MAX_PROOF, "the proof")
    try:
        shown = _verified(raw, rules, lineage, trust, output)
    except Denied as denied:
        if output is Output.JSON:
            emit({"proved": False, **denied.as_dict()}, output)
        raise
    emit(shown, output)


@app.command(epilog="Example: placet proof show proof.json --record")
def show(
    proof: ProofArgument,
    record: Annotated[bool, typer.Option("--record", help="Print the record alone, byte for byte.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what a proof file says. Nothing of it is verified."""
    from app.core.execution_proof import is_of_an_execution
    from app.core.execution_proof_form import MAX_PROOF, ExecutionProof
    from app.core.proof_form import Proof

    raw = read_bounded(proof, MAX_PROOF, "the proof")
    if is_of_an_execution(raw):
        if record:
            raise UsageError("an execution's proof holds several records: show one decision's")
        emit(proof_execution.claims(ExecutionProof.read(raw)), output)
        return
    given = Proof.read(raw)
    if record:
        if given.record is None:
            raise UsageError("the record was erased")
        sys.stdout.buffer.write(given.record + b"\n")
        return
    emit(_claims(given), output)


def _canonical(answer: Any) -> bytes:
    from app.core import strict_json

    try:
        return strict_json.canonical(answer)
    except ValueError as error:
        raise PlacetError("the control plane did not answer with a proof; is --server right?") from error


def _verified(raw: bytes, rules: ProofPolicy, lineage: TrustConfig, trust: TrustConfig, output: Output) -> Any:
    """What a proof proves, as it is printed. Raises `Denied`."""
    from app.core import execution_proof
    from app.core import proof as verifier
    from app.core.execution_proof_form import ExecutionProof
    from app.core.proof_form import Proof

    said = "the proof holds a release; say who may sign it: --release-identity and --release-oidc-issuer"
    sidecars, releases = rules.of_sidecars(), rules.of_releases()
    if execution_proof.is_of_an_execution(raw):
        several = ExecutionProof.read(raw)
        if any(one.release for one in several.decisions) and not rules.releases:
            raise UsageError(said)
        executed = execution_proof.verify(several, sidecars=sidecars, releases=releases, lineage=lineage, trust=trust)
        return (proof_execution.document if output is Output.JSON else proof_execution.rows)(executed)
    given = Proof.read(raw)
    if given.release and not rules.releases:
        raise UsageError(said)
    proven = verifier.verify(given, sidecars=sidecars, releases=releases, lineage=lineage, trust=trust)
    return _document(proven) if output is Output.JSON else _rows(proven)


def _require_same(proof: Proof, decision: str) -> None:
    """A record says its name, if it was not erased; `record-…` is the control plane's name for one that has none."""
    from app.core.record_entry import read_entry

    entry = read_entry(proof.record) if proof.record is not None else None
    if entry and entry.decision_id and entry.decision_id != decision and not decision.startswith("record-"):
        raise PlacetError(f"the control plane answered with the proof of another decision, {entry.decision_id}")


def _document(proven: Proven) -> dict[str, Any]:
    """What was proved, as JSON. Whatever the evidence does not show is null."""
    from app.core.batch import payload_digest

    batch, decision = proven.batch, proven.decision
    return {
        "proved": True,
        "sequence": proven.sequence,
        "record": _kind(proven),
        "decision": decision and {"id": decision.decision_id, "allow": decision.allow},
        "sidecar": proven.sidecar.model_dump(),
        "instance": batch.instance,
        "not_after": proven.not_after.isoformat(),
        "log": {"origin": proven.log.origin, "index": proven.log.index, "size": proven.log.size},
        "batch": {
            "digest": payload_digest(batch.statement()),
            "root": f"sha256:{batch.root}",
            "first": batch.first_entry,
            "entries": batch.entries,
            "opa": batch.opa,
        },
        "bundle": decision and decision.policy,
        "library": decision and decision.library,
        "state": decision and decision.state,
        "release": proven.release and _release(proven.release),
    }


def _release(release: ProvenRelease) -> dict[str, Any]:
    return {
        "digest": release.digest,
        "signer": release.signer.model_dump(),
        "signed_at": release.signed_at.isoformat(),
        "commits": list(release.commits),
        "files": [{"name": name, "digest": digest} for name, digest in release.files],
        "tests": [{"result": one.result, "signer": one.signer.model_dump()} for one in release.tests],
        "predicates": list(release.predicates),
    }


def _rows(proven: Proven) -> dict[str, str]:
    """What was proved, for people."""
    decision, release = proven.decision, proven.release
    log = proven.log
    rows = {
        "proved": "yes",
        "record": _kind(proven),
        "decision": decision and decision.decision_id,
        "allow": ("yes" if decision.allow else "no") if decision else None,
        "sequence": f"{proven.sequence} of instance {proven.batch.instance}",
        "sidecar": f"{proven.sidecar.identity} (by {proven.sidecar.issuer})",
        "not newer than": proven.not_after.isoformat(),
        "log": f"entry {log.index} of {log.size} of {log.origin}",
        "bundle": decision and decision.policy,
        "library": decision and decision.library,
        "state": decision and decision.state,
        "signer": release and f"{release.signer.identity} (by {release.signer.issuer})",
        "signed at": release and release.signed_at.isoformat(),
        "source": release and _source(release),
        "tests": release and ", ".join(f"{one.result} (says {one.signer.identity})" for one in release.tests),
    }
    return {name: value or NOT_SHOWN for name, value in rows.items()}


def _source(release: ProvenRelease) -> str:
    count = len(release.files)
    files = f"{count} file{'s' if count > 1 else ''} by digest" if count else ""
    return ", ".join(filter(None, [*release.commits, files]))


def _kind(proven: Proven) -> str:
    if proven.record is None:
        return "erased"
    return "a decision" if proven.decision else "no decision, but a message of OPA's"


def _claims(proof: Proof) -> dict[str, Any]:
    from app.core import proof as verifier
    from app.core.record_entry import read_entry

    batch = verifier.claimed_batch(proof)
    entry = read_entry(proof.record) if proof.record is not None else None
    return {
        "verified": "no: placet proof verify does that",
        "decision": entry and entry.decision_id,
        "allow": entry and entry.allow,
        "sequence": batch.first_entry + proof.index,
        "sidecar": batch.sidecar,
        "instance": batch.instance,
        "file": batch.file,
        "entries": batch.entries,
        "closed_at": batch.closed_at.isoformat(),
        "root": batch.root,
        "bundle": proof.release and proof.release.digest,
        "evidence": len(proof.release.evidence) if proof.release else 0,
        "record": "erased" if proof.record is None else proof.record.decode(errors="replace"),
    }
