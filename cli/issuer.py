"""`placet issuer`: issuers of workload identities."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.core import strict_json
from app.core.errors import UsageError
from app.core.files import read_bounded
from cli import client
from cli.output import Output, OutputOption, emit, say

app = typer.Typer(
    epilog="Examples: placet issuer add https://accounts.example.org --discover --audience payments  ·  "
    "placet issuer list"
)

IssuerArgument = Annotated[
    str, typer.Argument(help="The issuer, as in the token's iss; a trust domain's id of kind spiffe.")
]

_MAX_JWKS = 256 * 1024
_MAX_PEM = 64 * 1024
_COLUMNS = ["issuer", "kind", "domain", "names", "audiences", "condition", "key_age_seconds", "key_ids", "trouble"]


class Kind(StrEnum):
    """What an issuer vouches for."""

    OIDC = "oidc"
    KUBERNETES = "kubernetes"
    SPIFFE = "spiffe"


@app.command(
    epilog="Example: placet issuer add https://tokens.example.org --jwks keys.json --audience payments  ·  "
    "placet issuer add https://accounts.example.org --discover --audience payments"
)
def add(
    issuer: IssuerArgument,
    audience: Annotated[list[str], typer.Option(help="An audience that its tokens must name. Repeatable.")],
    jwks: Annotated[
        Path | None, typer.Option(help="Its public keys: a JWK set (RFC 7517), or a SPIFFE bundle.")
    ] = None,
    jwks_uri: Annotated[
        str | None, typer.Option("--jwks-uri", help="Where the server fetches its keys, again and again. https.")
    ] = None,
    discover: Annotated[
        bool, typer.Option("--discover", help="Fetch its keys where ISSUER/.well-known/openid-configuration says.")
    ] = False,
    kind: Annotated[
        Kind | None,
        typer.Option(
            help="What it vouches for. Default: spiffe for spiffe://…, oidc for the rest.", show_default=False
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(help="Its trust domain. Default: the control plane's own; of kind spiffe the issuer's."),
    ] = None,
    names: Annotated[
        str | None, typer.Option(help="How every subject begins that it vouches for, such as spiffe://example.org/.")
    ] = None,
    x509_roots: Annotated[
        Path | None, typer.Option("--x509-roots", help="Roots of its X.509-SVIDs, PEM. Of kind spiffe.")
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option(help="Take only the key with this thumbprint (RFC 7638) of what is fetched. Repeatable."),
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="A CA, PEM, that alone vouches for the server of its keys.")] = None,
    refresh: Annotated[
        int, typer.Option("--refresh", min=1, max=86400, help="Seconds between two fetches of its keys.")
    ] = 300,
    max_age: Annotated[
        int,
        typer.Option("--max-age", min=2, max=30 * 86400, help="Seconds after which unrefreshed keys are withdrawn."),
    ] = 86400,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Trust an issuer, or replace what is known of it. Every key is vetted first.

    With --jwks-uri or --discover the control plane fetches the keys itself, now and from time to time.
    """
    fetched = jwks_uri is not None or discover
    if [jwks is not None, jwks_uri is not None, discover].count(True) > 1:
        raise UsageError("give one of --jwks, --jwks-uri and --discover")
    if not fetched and jwks is None and x509_roots is None:
        raise UsageError("give its keys: --jwks FILE, --jwks-uri URL or --discover")
    body: dict[str, Any] = {
        "issuer": issuer,
        "audiences": audience,
        "kind": str(kind or (Kind.SPIFFE if issuer.startswith("spiffe://") else Kind.OIDC)),
        "domain": domain,
        "names": names,
        "jwks": _jwks(jwks) if jwks else None,
        "x509_roots": _pem(x509_roots, "the X.509 roots") if x509_roots else None,
    }
    if fetched:
        body |= {
            "jwks_uri": jwks_uri,
            "discover": discover,
            "pins": pin or [],
            "ca": _pem(ca, "the CA") if ca else None,
            "refresh_seconds": refresh,
            "max_age_seconds": max_age,
        }
    elif pin or ca:
        raise UsageError("--pin and --ca are for keys that are fetched: give --jwks-uri or --discover")
    with client.connect(server, token_file) as plane:
        added = plane.post("/api/v1/issuers", json={name: value for name, value in body.items() if value is not None})
    _warn(added)
    emit(_flat(added) if output is Output.TABLE else added, output)


@app.command(epilog="Example: placet issuer refresh https://accounts.example.org")
def refresh(
    issuer: IssuerArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have the control plane fetch an issuer's keys now. Exit code 1 when it could not."""
    with client.connect(server, token_file) as plane:
        found = plane.post(f"/api/v1/issuers/refresh?issuer={quote(issuer, safe='')}", json={})
    _warn(found)
    emit(_flat(found) if output is Output.TABLE else found, output)
    if found["source"]["trouble"]:
        raise typer.Exit(1)


@app.command(epilog="Example: placet issuer remove https://tokens.example.org")
def remove(
    issuer: IssuerArgument,
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Trust an issuer no longer: its tokens are denied."""
    with client.connect(server, token_file) as plane:
        plane.delete("/api/v1/issuers", issuer=issuer)
    emit({"removed": issuer}, output)


@app.command("list", epilog="Example: placet issuer list --output json")
def list_(
    server: client.ServerOption = None,
    token_file: client.TokenFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the trusted issuers, with the age of their keys and what is wrong with them."""
    with client.connect(server, token_file) as plane:
        found = plane.get("/api/v1/issuers")
    emit([_flat(one) for one in found] if output is Output.TABLE else found, output, columns=_COLUMNS)


def _flat(issuer: dict[str, Any]) -> dict[str, Any]:
    """An issuer as a row."""
    source = issuer["source"] or {}
    row = {name: issuer[name] for name in _COLUMNS if name in issuer}
    row["key_ids"] = [key["kid"] for key in issuer["keys"]] + [root["thumbprint"] for root in issuer["x509_roots"]]
    return row | {"fetched_from": source.get("uri"), "trouble": source.get("trouble")}


def _warn(issuer: dict[str, Any]) -> None:
    source = issuer["source"] or {}
    if source.get("trouble"):
        say(f"warning: the keys could not be refreshed: {source['trouble']}")
    for refused in source.get("refused", []):
        say(f"warning: a key was left out: {refused}")
    if issuer["shares_names_with"]:
        others = ", ".join(issuer["shares_names_with"])
        say(f"warning: {others} may give some of the same names; policies must look at the issuer of a subject, too")


def _jwks(file: Path) -> dict[str, Any]:
    try:
        return strict_json.load_object(read_bounded(file, _MAX_JWKS, "the JWK set"))
    except strict_json.StrictJSONError as error:
        raise UsageError(f"{file} is not a JWK set: {error}") from error


def _pem(file: Path, what: str) -> str:
    return read_bounded(file, _MAX_PEM, what).decode("utf-8", "replace")
