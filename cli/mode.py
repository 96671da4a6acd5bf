"""`placet mode`: shadow and break-glass, signed by people, limited in time, shown everywhere."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.errors import Denied, UsageError
from app.core.files import read_bounded
from cli import client, outputs, signing
from cli import warrant_options as options
from cli.api_path import system_path
from cli.asking import confirm
from cli.output import Output, OutputOption, emit, say

if TYPE_CHECKING:
    from app.core.modes import BreakGlass, Shadow
    from app.core.signing import SigningSession

app = typer.Typer(
    epilog="Examples: placet mode shadow payments --reason 'first week' --for 7d -o shadow.jsonl  ·  "
    "placet mode publish payments shadow.jsonl"
)

SystemArgument = Annotated[str, typer.Argument(help="The system.", show_default=False)]
EvidenceArgument = Annotated[Path, typer.Argument(help="A file of evidence, as shadow and break-glass write it.")]
ReasonOption = Annotated[str, typer.Option(help="Why. Everybody will see it.")]
OutOption = Annotated[Path, typer.Option("-o", "--out", help="Where to write the evidence.")]
DomainOption = Annotated[
    str | None, typer.Option(help="The control plane's trust domain. Default: the control plane is asked.")
]
FromOption = Annotated[str, typer.Option("--from", help="When it begins: RFC 3339, or a time from now such as +10m.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Sign without being asked.")]

_SYSTEM = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAX_FILE = 256 * 1024


@app.command(
    epilog="Example: placet mode shadow payments --reason 'first week' --for 7d -o shadow.jsonl "
    "--trust-config trust-config.json --identity-token lead.jwt"
)
def shadow(
    system: SystemArgument,
    reason: ReasonOption,
    for_: Annotated[str, typer.Option("--for", help="How long, such as 12h or 7d; 30 days at most.")],
    out: OutOption,
    begins: FromOption = "+0",
    domain: DomainOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    identity_token: signing.IdentityTokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Declare that the policy's own denials are recorded, not enforced: for a system that is being adopted.

    Lease, quarantine, identity and everything else beside the policy are enforced as ever.
    """
    from app.core.modes import Shadow

    options.new_file(out)
    predicate = _checked(Shadow, _common(system, domain, server, token_file, reason, begins, for_))
    _sign(predicate, [], out, signing.session(trust_config, staging, identity_token), output)


@app.command(
    "break-glass",
    epilog="Example: placet mode break-glass payments --reason 'incident 12: refunds stuck' --for 30m "
    "--subject 'https://tokens.example.org#ops' --action refund --resource 'payment/*' -o glass.jsonl",
)
def break_glass(
    system: SystemArgument,
    reason: ReasonOption,
    for_: Annotated[str, typer.Option("--for", help="How long, such as 30m; 4 hours at most.")],
    subject: Annotated[list[str], typer.Option(help="Whom it is for: ISSUER#ID. Repeatable.")],
    action: Annotated[list[str], typer.Option(help="An action, or a prefix with one trailing *. Repeatable.")],
    resource: Annotated[list[str], typer.Option(help="TYPE/ID, or a prefix with one trailing *. Repeatable.")],
    out: OutOption,
    begins: FromOption = "+0",
    domain: DomainOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    identity_token: signing.IdentityTokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Declare an emergency: named subjects may do this for minutes, whatever denies it. A second person must sign too.

    The second person runs: placet mode sign FILE. Then: placet mode publish SYSTEM FILE.
    """
    from app.core.modes import BreakGlass

    options.new_file(out)
    named = [options.principal(one) for one in subject]
    scope = {
        "subjects": [{"issuer": one.issuer, "id": one.id} for one in named],
        "actions": action,
        "resources": resource,
    }
    predicate = _checked(BreakGlass, _common(system, domain, server, token_file, reason, begins, for_) | scope)
    _sign(predicate, [], out, signing.session(trust_config, staging, identity_token), output)


@app.command(epilog="Example: placet mode sign glass.jsonl --identity-token second.jwt")
def sign(
    file: EvidenceArgument,
    yes: YesOption = False,
    trust_config: signing.TrustConfigOption = None,
    staging: signing.StagingOption = False,
    identity_token: signing.IdentityTokenOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Sign what somebody else declared, after reading it. The signature is added to the file."""
    from app.core import modes

    evidence = _evidence(file)
    predicate = modes.read_declaration(evidence[0])
    for name, value in predicate.model_dump(by_alias=True).items():
        say(f"{name}: {options.words(value)}")
    confirm("Do you sign this?", yes, "the declaration")
    _sign(predicate, evidence, file, signing.session(trust_config, staging, identity_token), output)


@app.command(epilog="Example: placet mode publish payments glass.jsonl")
def publish(
    system: SystemArgument,
    file: EvidenceArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send a signed mode to the control plane, which publishes it to the system's sidecars. Safe to repeat."""
    body = {"evidence": _evidence(file)}
    with client.connect(server, token_file) as plane:
        emit(plane.post(system_path(system, "modes"), json=body), output)


@app.command("list", epilog="Example: placet mode list payments --output json")
def list_(
    system: SystemArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the modes that a system has and had."""
    columns = ["id", "kind", "condition", "from", "until", "reason", "signers"]
    with client.connect(server, token_file) as plane:
        emit(plane.get(system_path(system, "modes")), output, columns=columns)


@app.command(epilog="Example: placet mode end payments 5f0c9d27a1b8e346", context_settings=client.TAKES_AN_ID)
def end(
    system: SystemArgument,
    mode: Annotated[str, typer.Argument(help="The mode's id.", show_default=False)],
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a mode before its time: sidecars drop it at their next refresh."""
    with client.connect(server, token_file) as plane:
        emit(plane.delete(system_path(system, "modes", mode)), output)


def _common(
    system: str, domain: str | None, server: str | None, token_file: Path | None, reason: str, begins: str, for_: str
) -> dict[str, Any]:
    """What both predicates say."""
    from app.core.governance import audience_of
    from app.core.instant import written
    from app.core.pattern_words import words

    if not _SYSTEM.fullmatch(system):
        raise UsageError(f"{system!r} is no system's name: it {words(f'^{_SYSTEM.pattern}$')}")
    if domain is None:
        with client.connect(server, token_file) as plane:
            domain = str(plane.get("/api/v1/domains/own")["domain"])
    start = datetime.now(UTC) if begins == "+0" else datetime.fromtimestamp(options.moment(begins, "--from"), UTC)
    start = start.replace(microsecond=0)
    return {
        "system": audience_of(domain, system),
        "id": secrets.token_hex(8),
        "reason": reason,
        "from": written(start),
        "until": written(start + timedelta(seconds=options.duration(for_, "--for"))),
    }


def _checked(form: type[Shadow] | type[BreakGlass], members: dict[str, Any]) -> Shadow | BreakGlass:
    """The predicate that the options describe. Raises `UsageError`."""
    from pydantic import ValidationError

    from app.core.complaint import complaint
    from app.core.modes import statement_of

    try:
        predicate = form.model_validate(members)
        statement_of(predicate)
    except ValidationError as error:
        raise UsageError(complaint(error)) from error
    except Denied as denied:
        raise UsageError(denied.detail) from denied
    return predicate


def _sign(
    predicate: Shadow | BreakGlass, before: list[str], out: Path, session: SigningSession, output: Output
) -> None:
    """Sign a declaration and keep it after the signatures that it has already."""
    from app.core import modes

    if session.identity.casefold() in {name.casefold() for name in modes.names_in(before)}:
        raise UsageError(f"{session.identity} has signed this already; another person must")
    statement = modes.statement_of(predicate)
    with outputs.Place(out, mode=0o644) as place:
        evidence = [*before, session.sign(statement).decode()]
        place.keep("".join(f"{one}\n" for one in evidence).encode())
    emit(
        {
            "evidence": str(out),
            "id": predicate.id,
            "until": predicate.until,
            "signed_by": session.identity,
            "signatures": len(evidence),
        },
        output,
    )


def _evidence(file: Path) -> list[str]:
    """The Sigstore bundles of a file, one a line. Raises `UsageError`."""
    lines = read_bounded(file, _MAX_FILE, "the evidence").decode("utf-8", "replace").splitlines()
    evidence = [line for line in lines if line.strip()]
    if not evidence:
        raise UsageError(f"{file} holds no evidence")
    return evidence
