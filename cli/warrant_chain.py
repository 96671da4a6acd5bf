"""The commands of `placet warrant` that need no server: delegate, inspect and verify a chain."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.errors import Denied, UsageError
from app.core.files import read_bounded
from cli import client, outputs
from cli import warrant_options as options
from cli.output import Output, OutputOption, emit, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.core.warrant_trust import WarrantTrust
    from app.core.warrants import UnverifiedWarrant

DELEGATE_EXAMPLE = (
    "Example: placet warrant delegate agent.warrant --key agent.pem --to 'spiffe://partner.example#"
    "spiffe://partner.example/agent' --action lookup --lifetime 5m -o partner.warrant"
)
INSPECT_EXAMPLE = "Example: placet warrant inspect partner.warrant"
VERIFY_EXAMPLE = (
    "Example: placet warrant verify partner.warrant --system payments --action refund --resource payment/p-1"
)


def delegate(
    files: options.ChainArgument,
    key: Annotated[Path, typer.Option("--key", help="The private key (PEM) that the last warrant names.")],
    to: Annotated[str, typer.Option("--to", help="The new subject: ISSUER#ID.", show_default=False)],
    actor: options.ActorOption = None,
    action: Annotated[list[str] | None, typer.Option(help="Only these actions. Repeatable.")] = None,
    resource: Annotated[list[str] | None, typer.Option(help="Only these resources, TYPE/ID. Repeatable.")] = None,
    constraint: options.ConstraintOption = None,
    constraints: options.ConstraintsFileOption = None,
    lifetime: Annotated[str | None, typer.Option(help="Shorter than what remains, such as 5m.")] = None,
    not_before: options.NotBeforeOption = None,
    uses: options.UsesOption = None,
    depth: Annotated[int, typer.Option(min=0, max=8, help="How often the new holder may delegate further.")] = 0,
    holder_key: options.HolderKeyOption = None,
    audience: Annotated[str | None, typer.Option(help="Only for this system.")] = None,
    passphrase_file: options.PassphraseOption = None,
    out: options.OutOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delegate a warrant, equal or narrower, with the holder's key. It needs no server.

    Writes the whole chain, root first. What would be wider than the warrant is refused with exit code 3.
    """
    from app.core.delegation import Delegation
    from app.core.delegation import delegate as sign

    if depth and holder_key is None:
        raise UsageError("--depth needs --holder-key: only the key that a warrant names can delegate it")
    changes = Delegation(
        subject=options.principal(to, option="--to"),
        actor=options.principal(actor, option="--actor") if actor else None,
        actions=action,
        resources=resource,
        constraints=options.constraints(constraint, constraints),
        audience=audience,
        lifetime_seconds=options.duration(lifetime, "--lifetime") if lifetime else None,
        not_before=options.moment(not_before, "--not-before") if not_before else None,
        uses=uses,
        depth=depth,
        holder_key=options.public_key(holder_key),
    )
    chain = options.tokens(files)
    with outputs.place(out, new=True) as place:
        chain.append(sign(chain, options.private_key(key, passphrase_file), changes, now=int(time.time())))
        if place is not None:
            row = _rows(chain)[-1]
            emit({name: row[name] for name in row if name != "problems"}, output)
            place.keep("\n".join(chain).encode() + b"\n")
            say(f"The chain is in {out}")
        elif output is Output.JSON:
            emit({"warrants": chain}, output)
        else:
            sys.stdout.write("\n".join(chain) + "\n")


def inspect(files: options.ChainArgument, output: OutputOption = Output.TABLE) -> None:
    """Show what a chain says, hop by hop. NOTHING IS VERIFIED: `placet warrant verify` does that."""
    chain = options.tokens(files)
    rows = _rows(chain)
    if output is Output.JSON:
        emit({"verified": False, "warrants": rows, "remains": _remains(chain)}, output)
        return
    say("Not verified: anybody could have written this.")
    for row in rows:
        for problem in row["problems"]:
            say(f"hop {row['hop']}: {problem}")
    columns = ["hop", "id", "issuer", "subject", "actor", "actions", "resources", "constraints", "depth", "expires_at"]
    emit(rows, output, columns=columns)
    sys.stdout.write("\n")
    emit(_remains(chain), output)


def verify(
    files: options.ChainArgument,
    audience: Annotated[str | None, typer.Option(help="The system's audience, spiffe://DOMAIN/system/SYSTEM.")] = None,
    system: Annotated[str | None, typer.Option(help="The system, in place of --audience.")] = None,
    trust: Annotated[
        Path | None, typer.Option("--trust", help="A JWK set with its issuer, to verify without a control plane.")
    ] = None,
    action: Annotated[str | None, typer.Option(help="Also ask whether it covers this action.")] = None,
    resource: Annotated[str | None, typer.Option(help="Also ask whether it covers this TYPE/ID.")] = None,
    context: Annotated[Path | None, typer.Option(help="Also ask whether this JSON file meets the constraints.")] = None,
    at: Annotated[str | None, typer.Option(help="At another time than now: RFC 3339, or +10m.")] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a chain as a sidecar would. Exit code 3 with the reason when it does not stand.

    Quarantine, uses and proofs of possession are looked at when a decision is made, not here.
    """
    from app.core.warrant_chain import ChainDenied, verify_chain

    chain = options.tokens(files)
    asked = (action, _resource(resource), options.json_file(context, "the context") if context else None)
    trusted = _trusted(trust, system, server, token_file)
    moment = float(options.moment(at, "--at")) if at else time.time()
    try:
        verified = verify_chain(chain, trusted, _audience(audience, system, trusted), moment)
        if uncovered := verified.denials(*asked):
            raise ChainDenied(uncovered)
    except Denied as denied:
        all_of_them = denied.denials if isinstance(denied, ChainDenied) else [denied]
        if output is Output.JSON:
            reasons = [{"code": str(one.reason), "message": one.detail} for one in all_of_them]
            emit({"verified": False, **denied.as_dict(), "reasons": reasons}, output)
        for one in all_of_them[1:]:
            say(f"also: {one}")
        raise
    emit(
        {
            "verified": True,
            "ids": verified.ids,
            "issuer": verified.issuer,
            "holder": str(verified.holder),
            "holders_checked": trusted.holders is not None,
            **_remains(chain),
        },
        output,
    )


def _rows(chain: Sequence[str]) -> list[dict[str, Any]]:
    from app.core.warrant_chain import read_chain, widenings

    warrants = read_chain(chain)
    rows = [_row(hop, warrant) for hop, warrant in enumerate(warrants)]
    for hop, (parent, child) in enumerate(pairwise(warrants), start=1):
        rows[hop]["problems"] = [f"{reason}: {detail}" for reason, _, detail in widenings(parent.claims, child.claims)]
    return rows


def _row(hop: int, warrant: UnverifiedWarrant) -> dict[str, Any]:
    from app.core.holder_keys import thumbprint

    claims = warrant.claims
    return {
        "hop": hop,
        "id": claims.jti,
        "issuer": claims.iss,
        "subject": str(claims.subject),
        "actor": str(claims.actor) if claims.actor else None,
        "audience": claims.audiences,
        "actions": claims.actions,
        "resources": claims.resources,
        "constraints": {member: str(bound) for member, bound in (claims.constraints or {}).items()} or None,
        "uses": claims.uses,
        "depth": claims.further,
        "issued_at": _written(claims.iat),
        "not_before": _written(claims.nbf) if claims.nbf is not None else None,
        "expires_at": _written(claims.exp),
        "alg": warrant.alg,
        "kid": warrant.kid,
        "key": thumbprint(claims.cnf.jwk) if claims.cnf else None,
        "problems": [],
    }


def _remains(chain: Sequence[str]) -> dict[str, Any]:
    """What the chain as a whole allows, and for how long."""
    from app.core.warrant_chain import VerifiedChain, read_chain

    whole = VerifiedChain(tuple(warrant.claims for warrant in read_chain(chain)))
    last = whole.last
    left = whole.expires_at - int(time.time())
    return {
        "actions": last.actions,
        "resources": last.resources,
        "constraints": {member: str(bound) for member, bound in (last.constraints or {}).items()},
        "uses": min(whole.counted.values()) if whole.counted else None,
        "delegations": last.further if last.cnf else 0,
        "proof_needed": last.cnf is not None,
        "expires_at": _written(whole.expires_at),
        "seconds_left": max(left, 0),
    }


def _written(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


def _resource(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    kind, slash, identifier = text.partition("/")
    if not slash or not kind or not identifier:
        raise UsageError(f"--resource is TYPE/ID, not {text!r}")
    return kind, identifier


def _trusted(file: Path | None, system: str | None, server: str | None, token_file: Path | None) -> WarrantTrust:
    """The issuers of a file, or those that the control plane publishes."""
    import json

    from app.core.warrant_trust import MAX_TRUST, WarrantTrust

    if file is not None:
        return WarrantTrust.load(read_bounded(file, MAX_TRUST, "the trusted issuers"), str(file))
    with client.connect(server, token_file) as plane:
        published = plane.get("/api/v1/warrant-issuers", system=system)
    return WarrantTrust.load(json.dumps(published).encode(), "the control plane's issuers")


def _audience(audience: str | None, system: str | None, trusted: WarrantTrust) -> str:
    from app.core.governance import audience_of

    if (audience is None) == (system is None):
        raise UsageError("say which system it must be for: --system NAME, or --audience")
    if audience is not None:
        return audience
    if not trusted.domain:
        raise UsageError("a file of keys names no domain; give --audience spiffe://DOMAIN/system/SYSTEM")
    return audience_of(trusted.domain, str(system))
