"""`placet proof`: one file that proves one decision, or one execution, to anybody, without a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.errors import Denied, PlacetError, UsageError
from app.core.files import read_bounded, write_atomically
from cli import client, proof_decision, proof_execution
from cli.api_path import api
from cli.output import Output, OutputOption, emit

if TYPE_CHECKING:
    from app.core.proof_form import Proof
    from app.core.proof_policy import ProofPolicy
    from app.core.trust import TrustConfig

app = typer.Typer(
    epilog="Examples: placet proof export 4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e -o proof.json  ·  "
    "placet proof show proof.json"
)

ProofArgument = Annotated[Path, typer.Argument(help="The proof file.", show_default=False)]


@app.command(
    epilog="Example: placet proof export 4f0c1d2e-6f7a-4b8c-9d0e-1f2a3b4c5d6e -o proof.json",
    context_settings=client.TAKES_AN_ID,
)
def export(
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the proof.")],
    decision: Annotated[
        str | None,
        typer.Argument(metavar="[DECISION|EXECUTION]", help="The decision's or execution's id.", show_default=False),
    ] = None,
    execution: Annotated[
        str | None, typer.Option(metavar="ID", help="An execution and no decision of that id.", show_default=False)
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
        raise UsageError("say what to prove: the id of a decision or execution")
    with client.connect(server, token_file) as plane:
        answer = _of_decision(plane, decision) if decision is not None else None
        if answer is None:
            execution = execution or decision or ""
            answer = _of_execution(plane, execution, system, sidecar, alone=decision is None)
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
        Path,
        typer.Option(
            "--trust-config", help="The Sigstore that vouches for releases: a ClientTrustConfig or a trusted root."
        ),
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
    tests_passed: Annotated[
        bool, typer.Option("--tests-passed", help="Demand that the tests of the release passed.")
    ] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="git+URL[@COMMIT]",
            help="Demand that the release was built from this; repeat it for several.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="YAML {sidecars: [{identity, issuer}], releases: […]}, in place of the six."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a proof and print what it proves. Needs these files and no network. Exit code 3 when it is denied."""
    from app.core.execution_proof_form import MAX_PROOF
    from app.core.proof_policy import ProofPolicy
    from app.core.trust import TrustConfig

    rules = ProofPolicy.of(
        (certificate_identity, certificate_oidc_issuer),
        (release_identity, release_oidc_issuer),
        policy,
        tests_passed=tests_passed,
        sources=source or (),
    )
    trust = TrustConfig.from_file(trust_config, root_alone=True)
    lineage = TrustConfig.from_file(lineage_trust_config, root_alone=True) if lineage_trust_config else trust
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
    emit(proof_decision.claims(given), output)


def _of_decision(plane: client.ControlPlane, decision: str) -> Any:
    """The proof of a decision; None when there is none of this id."""
    try:
        return plane.get(api("decisions", decision, "proof"))
    except client.Missing:
        return None


def _of_execution(
    plane: client.ControlPlane, execution: str, system: str | None, sidecar: str | None, *, alone: bool
) -> Any:
    """The proof of an execution; `alone` when no decision was asked for before."""
    try:
        return plane.get(api("executions", execution, "proof"), system=system, sidecar=sidecar)
    except client.Missing as missing:
        if alone:
            raise
        raise PlacetError(f"there is no decision and no execution {execution}") from missing


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
    given: Any = {
        "sidecars": rules.of_sidecars(),
        "releases": rules.of_releases(),
        "lineage": lineage,
        "trust": trust,
        "demands": rules.demands(),
    }
    if execution_proof.is_of_an_execution(raw):
        several = ExecutionProof.read(raw)
        if any(one.release for one in several.decisions) and not rules.releases:
            raise UsageError(said)
        executed = execution_proof.verify(several, **given)
        return (proof_execution.document if output is Output.JSON else proof_execution.rows)(executed)
    one = Proof.read(raw)
    if one.release and not rules.releases:
        raise UsageError(said)
    proven = verifier.verify(one, **given)
    return (proof_decision.document if output is Output.JSON else proof_decision.rows)(proven)


def _require_same(proof: Proof, decision: str) -> None:
    """A record says its name, if it was not erased; the control plane names one that has none by its bytes."""
    from app.control.record_lines import identifier
    from app.core.record_entry import read_entry

    if proof.record is None or (entry := read_entry(proof.record)) is None:
        return
    name = identifier(entry.decision_id, proof.record)
    if decision not in (entry.decision_id, name):
        raise PlacetError(f"the control plane answered with the proof of another decision, {name}")
