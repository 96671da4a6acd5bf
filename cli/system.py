"""`placet system`: sets of OPAs that take the same policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.core import break_limit
from app.core.errors import PlacetError, UsageError
from cli import client
from cli.api_path import system_path
from cli.impact_options import share
from cli.output import Output, OutputOption, emit
from cli.pinned_opa import pinned_opa
from cli.warrant_options import duration

app = typer.Typer(
    epilog="Examples: placet system create payments --certificate-identity dev@example.org "
    "--certificate-oidc-issuer https://accounts.example.org  ·  "
    "placet system list"
)

ShadowOption = Annotated[
    list[str] | None, typer.Option("--shadow-signer", help="IDENTITY#ISSUER who may declare shadow. Repeatable.")
]
BreakGlassOption = Annotated[
    list[str] | None,
    typer.Option("--break-glass-signer", help="IDENTITY#ISSUER who may declare break-glass, two of them. Repeatable."),
]

PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help="A verification policy (YAML), in place of those options."),
]


@app.command(
    epilog="Example: placet system create payments --certificate-identity dev@example.org "
    "--certificate-oidc-issuer https://accounts.example.org --horizon 60"
)
def create(
    name: Annotated[str, typer.Argument(help="A DNS label, such as payments.", show_default=False)],
    certificate_identity: Annotated[
        list[str] | None,
        typer.Option("--certificate-identity", help="Who may sign. Repeat it with its issuer for more."),
    ] = None,
    certificate_oidc_issuer: Annotated[
        list[str] | None,
        typer.Option("--certificate-oidc-issuer", help="The issuer of the identity at the same place."),
    ] = None,
    policy: PolicyOption = None,
    require: Annotated[
        list[str] | None, typer.Option("--require", help="A predicate type that releases must attest. Repeatable.")
    ] = None,
    horizon: Annotated[
        int, typer.Option(min=1, max=30 * 86400, help="Seconds that sidecars go on without fresh metadata.")
    ] = 60,
    shadow_signer: ShadowOption = None,
    break_glass_signer: BreakGlassOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a system and say who may sign its releases."""
    given = {
        "identities": _pairs(certificate_identity or [], certificate_oidc_issuer or []),
        "shadow": _signers(shadow_signer, "--shadow-signer"),
        "break_glass": _signers(break_glass_signer, "--break-glass-signer"),
        "required_predicates": require or [],
    }
    if policy is None and not given["identities"]:
        raise UsageError("say who may sign: --certificate-identity and --certificate-oidc-issuer, or --policy FILE")
    system = {"name": name, "horizon_seconds": horizon, **(_policy(policy, given) if policy else given)}
    with client.connect(server, token_file) as plane:
        emit(plane.post("/api/v1/systems", json=system), output)


@app.command(
    epilog="Example: placet system update payments --shadow-signer 'lead@example.org#https://accounts.example.org'"
)
def update(
    name: Annotated[str, typer.Argument(help="The system.", show_default=False)],
    certificate_identity: Annotated[
        list[str] | None, typer.Option("--certificate-identity", help="Who may sign, in place of all before.")
    ] = None,
    certificate_oidc_issuer: Annotated[
        list[str] | None,
        typer.Option("--certificate-oidc-issuer", help="The issuer of the identity at the same place."),
    ] = None,
    policy: PolicyOption = None,
    shadow_signer: ShadowOption = None,
    break_glass_signer: BreakGlassOption = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say anew who may sign for a system, or who may declare its modes. What is left out stays as it is.

    Sidecars go by their own verification policies: change those too.
    """
    given = {
        "identities": _pairs(certificate_identity or [], certificate_oidc_issuer or []),
        "shadow": _signers(shadow_signer, "--shadow-signer"),
        "break_glass": _signers(break_glass_signer, "--break-glass-signer"),
    }
    body = {member: signers for member, signers in given.items() if signers}
    if policy:
        with client.connect(server, token_file) as plane:
            emit(plane.put(system_path(name, "policy"), json=_policy(policy, given)), output)
        return
    if not body:
        raise UsageError("say what to change, such as --shadow-signer")
    with client.connect(server, token_file) as plane:
        emit(plane.put(system_path(name, "signers"), json=body), output)


@app.command(
    "set",
    epilog="Examples: placet system set payments --lineage-limit gap=15m --lineage-limit opa=never  ·  "
    "placet system set payments --impact-max-changed 2% --impact-since 7d  ·  placet system set payments --no-impact"
    "  ·  placet system set edge --horizon 86400",
)
def set_(
    name: Annotated[str, typer.Argument(help="The system.", show_default=False)],
    horizon: Annotated[
        int | None,
        typer.Option(min=1, max=30 * 86400, help="Seconds that sidecars go on without fresh metadata."),
    ] = None,
    lineage_limit: Annotated[
        list[str] | None,
        typer.Option(
            "--lineage-limit",
            metavar="KIND=LIMIT",
            help="When open breaks of clock, opa, dropped, repeat, gap or fork stop a sidecar: at-once, after a time "
            "(15m), by their number (not gap and fork), or never (clock, opa and dropped). Repeatable.",
        ),
    ] = None,
    impact: Annotated[
        bool | None,
        typer.Option("--impact/--no-impact", help="Whether a channel waits for a report of the release's impact."),
    ] = None,
    impact_max_changed: Annotated[
        str | None,
        typer.Option(metavar="N|P%", help="Past decisions that may change or be unknown. Default: any number."),
    ] = None,
    impact_since: Annotated[
        str | None, typer.Option(metavar="DURATION", help="The past that a report must cover, such as 7d.")
    ] = None,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say what stops a system's sidecars, and what its channels wait for. What is left out stays as it is.

    Sidecars know a new horizon with their next refresh: one that is cut off goes by the horizon before.
    """
    limits = dict(_limit(one) for one in lineage_limit or [])
    demand = _demand(impact, impact_max_changed, impact_since)
    if horizon is None and not limits and demand is None:
        raise UsageError("say what to set, such as --horizon 300, --lineage-limit opa=never or --impact-max-changed 2%")
    path = system_path(name)
    with client.connect(server, token_file) as plane:
        if horizon is not None:
            plane.put(f"{path}/horizon", json={"horizon_seconds": horizon})
        if limits:
            plane.put(f"{path}/lineage-limits", json=limits)
        if demand is not None:
            plane.put(f"{path}/impact/demand", json=_merged(plane.get(f"{path}/impact/demand"), demand))
        system = plane.get(path)
        found = {name: system[name] for name in ("name", "horizon_seconds", "lineage_limits")}
        emit(found | {"impact": plane.get(f"{path}/impact/demand")}, output)


@app.command("list", epilog="Example: placet system list --output json")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the systems."""
    with client.connect(server, token_file) as plane:
        emit(plane.get("/api/v1/systems"), output, columns=["name", "identities", "horizon_seconds", "modes"])


def _limit(written: str) -> tuple[str, str | int]:
    """A kind and its limit, as the API takes them."""
    kind, _, limit = written.partition("=")
    given = int(limit) if limit.isascii() and limit.isdecimal() and len(limit) < 9 else limit
    try:
        break_limit.parse(kind, given)
    except ValueError as error:
        raise UsageError(f"--lineage-limit {written}: {error}") from error
    return kind, given


def _demand(wanted: bool | None, max_changed: str | None, since: str | None) -> dict[str, Any] | None:
    """What the channels shall wait for, as the API takes it; None: nothing is to be set."""
    if wanted is None and max_changed is None and since is None:
        return None
    if wanted is False:
        if max_changed is not None or since is not None:
            raise UsageError("--no-impact takes no limit")
        return {"required": False}
    demand: dict[str, Any] = {"required": True}
    if max_changed is not None:
        demand |= share(max_changed, "--impact-max-changed")
    if since is not None:
        demand["since_seconds"] = duration(since, "--impact-since")
    return demand


def _merged(there: dict[str, Any], demand: dict[str, Any]) -> dict[str, Any]:
    """A demand in which what is not said anew stays; of the two limits one counts."""
    limits = {"max_changed", "max_percent"}
    kept = {name: value for name, value in there.items() if name not in limits or not limits & demand.keys()}
    return {**kept, **demand} if demand["required"] else demand


def _policy(file: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The verification policy in a file, as the API takes it."""
    from app.core import condition_check
    from app.core.verification_policy import VerificationPolicy

    if any(given.values()):
        raise UsageError("give --policy, or the options that name signers and predicates, not both")
    rules = VerificationPolicy.load(file)
    try:
        opa = pinned_opa(None)
    except PlacetError:  # on an administrator's machine there need be none: the control plane checks it, too
        pass
    else:
        condition_check.require(rules, opa, file)
    return rules.model_dump(mode="json", exclude_defaults=True, exclude_none=True)


def _pairs(identities: list[str], issuers: list[str]) -> list[dict[str, str]]:
    if len(identities) != len(issuers):
        raise UsageError("give each --certificate-identity its --certificate-oidc-issuer, in the same order")
    return [{"identity": identity, "issuer": issuer} for identity, issuer in zip(identities, issuers, strict=True)]


def _signers(written: list[str] | None, option: str) -> list[dict[str, str]]:
    found = []
    for one in written or []:
        identity, _, issuer = one.partition("#")
        if not identity or not issuer:
            raise UsageError(f"{option} is IDENTITY#ISSUER, such as lead@example.org#https://accounts.example.org")
        found.append({"identity": identity, "issuer": issuer})
    return found
