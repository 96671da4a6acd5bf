"""`placet warrant`: who may do what until when. These commands talk to a control plane."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.core.errors import Denied, PlacetError, UsageError
from app.core.reason_codes import Reason
from cli import client, outputs, signing, warrant_chain, warrant_key
from cli import warrant_options as options
from cli.api_path import system_path
from cli.asking import confirm
from cli.output import Output, OutputOption, emit, say
from cli.progress import busy

app = typer.Typer(
    epilog="Examples: placet warrant key new agent.pem  ·  "
    "placet warrant list --system payments  ·  "
    "placet warrant inspect agent.warrant"
)
app.command(epilog=warrant_chain.DELEGATE_EXAMPLE)(warrant_chain.delegate)
app.command(epilog=warrant_chain.INSPECT_EXAMPLE)(warrant_chain.inspect)
app.command(epilog=warrant_chain.VERIFY_EXAMPLE)(warrant_chain.verify)
app.add_typer(warrant_key.app, name="key", help="Keys of holders, and of the control plane.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(help="The warrant's id (jti).", show_default=False)]


@app.command(
    epilog="Example: placet warrant issue --system payments --subject 'https://tokens.example.org#job-17' "
    "--action refund --resource 'payment/*' --constraint 'amount<=100' --lifetime 15m -o job-17.warrant"
)
def issue(
    system: options.SystemOption,
    subject: options.SubjectOption,
    action: Annotated[list[str], typer.Option(help="An action, or a prefix with one trailing *. Repeatable.")],
    resource: Annotated[list[str], typer.Option(help="TYPE/ID, or a prefix with one trailing *. Repeatable.")],
    subject_issuer: options.SubjectIssuerOption = None,
    actor: options.ActorOption = None,
    constraint: options.ConstraintOption = None,
    constraints: options.ConstraintsFileOption = None,
    lifetime: Annotated[str, typer.Option(help="How long it lasts once it is issued, such as 900, 15m or 8h.")] = "15m",
    not_before: options.NotBeforeOption = None,
    uses: options.UsesOption = None,
    depth: Annotated[int, typer.Option(min=0, max=8, help="How often it may be delegated further.")] = 0,
    holder_key: options.HolderKeyOption = None,
    audience: Annotated[str | None, typer.Option(help="Default: the system's own.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; approvers see it.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Any text: asking again with it gives the same warrant, not a second one.")
    ] = None,
    out: options.OutOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have the control plane issue a warrant.

    Where the system wants an approval first, the id is printed and the exit code is 3: `placet warrant fetch` gets
    the warrant once an approver has signed.
    """
    if depth and holder_key is None:
        raise UsageError("--depth needs --holder-key: only the key that a warrant names can delegate it")
    key = options.public_key(holder_key)
    asked = {
        "subject": options.principal(subject, subject_issuer),
        "actor": options.principal(actor, option="--actor") if actor else None,
        "actions": action,
        "resources": resource,
        "constraints": options.constraints(constraint, constraints) or None,
        "lifetime_seconds": options.duration(lifetime, "--lifetime"),
        "not_before": options.moment(not_before, "--not-before") if not_before else None,
        "uses": uses,
        "depth": depth or None,
        "cnf": {"jwk": key} if key else None,
        "audience": audience,
        "reason": reason,
    }
    body = _request(asked).document()
    with outputs.place(out, new=True) as place, client.connect(server, token_file) as plane:
        answer = plane.post(_path(system), json=body, idempotency_key=idempotency_key)
        _deliver(answer, system, place, output)


@app.command(
    epilog="Example: placet warrant fetch 9d27a1b8e3465f0c --system payments -o job-17.warrant",
    context_settings=client.TAKES_AN_ID,
)
def fetch(
    warrant: IdArgument,
    system: options.SystemOption,
    out: options.OutOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Get a warrant that waited for an approval. Exit code 3 while it waits, or when it was revoked."""
    with outputs.place(out, new=True) as place, client.connect(server, token_file) as plane:
        _deliver(plane.get(_path(system, warrant)), system, place, output)


@app.command(
    context_settings=client.TAKES_AN_ID,
    epilog="Example: placet warrant approve 9d27a1b8e3465f0c --system payments --trust-config trust-config.json "
    "--identity-token lead.jwt --yes",
)
def approve(
    warrant: IdArgument,
    system: options.SystemOption,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking; you have seen the request.")] = False,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    identity_token: signing.IdentityTokenOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Approve a warrant: sign its request with Sigstore, as an in-toto statement, and send the signature.

    What is signed is what this command shows, not what the control plane says about it.
    """
    from app.core.warrant_request import approval_statement

    with client.connect(server, token_file) as plane:
        found = plane.get(_path(system, warrant))
        if found.get("status") != "pending":
            raise UsageError(f"the warrant {warrant} is {found.get('status')}; only a pending one is approved")
        request = _request(found.get("request"))
        if request.digest(system, warrant) != found.get("request_digest"):
            raise PlacetError("the control plane names another digest than that of the request that it shows")
        _confirm({"system": system, "id": warrant, **request.document()}, yes)
        session = signing.session(trust_config, staging, identity_token)
        with busy("signing"):
            evidence = session.sign(approval_statement(system, warrant, request))
        done = plane.post(f"{_path(system, warrant)}/approvals", json={"evidence": evidence.decode()})
    emit({"id": warrant, "status": done.get("status"), "identity": session.identity, "issuer": session.issuer}, output)


@app.command(
    epilog="Example: placet warrant revoke 9d27a1b8e3465f0c --system payments --reason 'job-17 is retired'",
    context_settings=client.TAKES_AN_ID,
)
def revoke(
    system: options.SystemOption,
    warrant: Annotated[str | None, typer.Argument(help="The warrant's id (jti).", show_default=False)] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A chain whose last warrant is revoked, also one issued elsewhere.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; it is kept.")] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Revoke a warrant, and so every chain that it is part of. Sidecars follow at their next refresh."""
    from app.core.warrant_chain import read_chain

    if (warrant is None) == (file is None):
        raise UsageError("give the warrant's id, or --file CHAIN")
    expires_at = None
    if file is not None:
        last = read_chain(options.tokens([file]))[-1].claims
        warrant, expires_at = last.jti, last.exp
    with client.connect(server, token_file) as plane:
        plane.delete(_path(system, str(warrant)), reason=reason, expires_at=expires_at)
    emit({"revoked": warrant}, output)


@app.command("list", epilog="Example: placet warrant list --system payments --status pending")
def list_(
    system: options.SystemOption,
    subject: Annotated[str | None, typer.Option(help="Only those of ISSUER#ID.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those: pending, issued, revoked or expired.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many, newest first.")] = 100,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the warrants that the control plane issued, or was asked for."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    with client.connect(server, token_file) as plane:
        while len(rows) < limit:
            page = plane.get(
                _path(system), subject=subject, status=status, limit=min(100, limit - len(rows)), cursor=cursor
            )
            rows += page["items"]
            cursor = page.get("next")
            if not cursor:
                break
    if output is Output.TABLE:
        rows = [row | {name: _name(row.get(name)) for name in ("subject", "actor")} for row in rows]
    columns = ["id", "status", "subject", "actor", "actions", "resources", "uses", "uses_left", "depth", "expires_at"]
    emit(rows, output, columns=columns)


def _path(system: str, warrant: str | None = None) -> str:
    return system_path(system, "warrants", *([] if warrant is None else [warrant]))


def _request(body: Any) -> Any:
    """A request, checked before it is sent or signed. Raises `UsageError`."""
    from pydantic import ValidationError

    from app.core.complaint import complaint
    from app.core.warrant_request import WarrantRequest

    try:
        return WarrantRequest.model_validate(body)
    except ValidationError as error:
        raise UsageError(complaint(error)) from error


def _deliver(answer: dict[str, Any], system: str, place: outputs.Place | None, output: Output) -> None:
    """Print what the control plane said about a warrant; the token goes to the file, or to stdout."""
    token = answer.pop("token", None)
    shown = {name: answer.get(name) for name in ("id", "status", "request_digest", "expires_at")}
    if not token:
        emit(shown, output)
        if shown["status"] == "pending":
            detail = f"have it approved (placet warrant approve {shown['id']} --system {system}), then fetch it"
            raise Denied(Reason.WARRANT_UNAPPROVED, detail)
        if shown["status"] == "revoked":
            raise Denied(Reason.WARRANT_REVOKED, f"the warrant {shown['id']} was revoked")
        raise PlacetError("the control plane gave no token; this needs an API token with the scope warrant:issue")
    if place is not None:
        try:
            place.keep(token.encode() + b"\n")
        finally:
            emit(shown, output)
        say(f"The warrant is in {place.path}")
    elif output is Output.JSON:
        emit({**shown, "token": token}, output)
    else:
        sys.stdout.write(token + "\n")


def _confirm(request: dict[str, Any], yes: bool) -> None:
    """Show what is about to be signed, and ask, where somebody can answer."""
    for name, value in request.items():
        say(f"{name}: {options.words(value)}")
    confirm("Sign this?", yes, "the request")


def _name(principal: Any) -> str:
    return f"{principal['issuer']}#{principal['id']}" if isinstance(principal, dict) else ""
