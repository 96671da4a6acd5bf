"""`placet sidecar`: OPA under governance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.core.errors import UsageError
from app.core.files import read_bounded, read_secret
from cli import allowance, client, descriptors, enrolment
from cli.bundle import IdentityOption, IssuerOption, PolicyOption
from cli.output import Output, OutputOption, emit, say
from cli.pinned_opa import OpaOption
from cli.progress import busy
from cli.signing import StagingOption, TrustConfigOption

if TYPE_CHECKING:
    from app.sidecar.config import SidecarConfig, SidecarFiles

app = typer.Typer(
    epilog="Examples: placet sidecar invite payments one -o join.token  ·  placet sidecar status --dir /var/lib/placet"
)
app.add_typer(enrolment.app)
app.add_typer(allowance.app)

DirOption = Annotated[Path, typer.Option("--dir", help="Where the sidecar keeps its files.")]

_SIZES = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_MAX_SMALL_FILE = 1024 * 1024
_MAX_TOKEN = 4096
_OR_JOIN = (
    "or, for one of the sidecar's own, --join-token FILE (placet sidecar invite) or --identity-token FILE (allow)"
)


@app.command(
    epilog="Example: placet sidecar run --system payments --channel prod --dir /var/lib/placet "
    "--tuf-root tuf-root.json --server https://placet.example.org --token-file sidecar.token "
    "--certificate-identity ci@example.org --certificate-oidc-issuer https://accounts.example.org"
)
def run(
    system: Annotated[str, typer.Option("--system", help="The system that this OPA belongs to.")],
    channel: Annotated[str, typer.Option("--channel", help="The channel that it follows.")],
    tuf_root: Annotated[Path, typer.Option("--tuf-root", help="The pinned TUF root of the control plane.")],
    directory: DirOption = Path("placet-sidecar"),
    name: Annotated[str, typer.Option("--name", help="The sidecar's name in its system.")] = "sidecar",
    server: client.ServerOption = None,
    server_ca: Annotated[
        Path | None, typer.Option("--server-ca", envvar="PLACET_SERVER_CA", help="A CA to trust for the control plane.")
    ] = None,
    token_file: client.TokenFileOption = None,
    join_token: Annotated[
        Path | None,
        typer.Option(
            "--join-token",
            help="A file that holds a join token (placet sidecar invite): exchanged at the first start for the "
            "sidecar's own API token, which stays in its directory.",
        ),
    ] = None,
    identity_token: Annotated[
        Path | None,
        typer.Option(
            "--identity-token",
            help="A file that holds the workload's own identity token (placet sidecar allow), such as Kubernetes or "
            "SPIFFE renew: exchanged for the sidecar's own API token, also when that is lost.",
        ),
    ] = None,
    trust_config: TrustConfigOption = None,
    staging: StagingOption = False,
    lineage_trust_config: Annotated[
        Path | None,
        typer.Option(
            "--lineage-trust-config",
            help="A Sigstore ClientTrustConfig: sign records in batches and log them there. Default: unsigned.",
        ),
    ] = None,
    certificate_identity: IdentityOption = None,
    certificate_oidc_issuer: IssuerOption = None,
    policy: PolicyOption = None,
    opa: OpaOption = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where services reach OPA.")] = 8181,
    lease_ttl: Annotated[float, typer.Option("--lease-ttl", min=1, max=3600, help="Seconds that a lease holds.")] = 10,
    renew: Annotated[
        float | None, typer.Option("--renew", min=0.2, help="Seconds between renewals. Default: a third of the TTL.")
    ] = None,
    refresh: Annotated[
        float, typer.Option("--refresh", min=0.2, max=3600, help="Seconds between refreshes of the metadata.")
    ] = 2,
    reserve: Annotated[str, typer.Option("--reserve", help="Space kept free for records.")] = "256MiB",
    record_space: Annotated[
        str, typer.Option("--record-space", help="Space for all records and the reserve.")
    ] = "4GiB",
    edge_port: Annotated[
        int | None,
        typer.Option(
            "--edge-port",
            min=1,
            max=65535,
            help="Where services start executions and ask by AuthZEN, also at run/edge.sock. Default: nowhere.",
        ),
    ] = None,
    evidence: Annotated[
        list[Path] | None,
        typer.Option("--evidence", help="A file that says what attests this environment. May be given again."),
    ] = None,
    minimum_sequence: Annotated[
        int, typer.Option("--minimum-sequence", min=1, help="Refuse a channel pointer below this, even at first.")
    ] = 1,
) -> None:
    """Start OPA and govern it: verify what it loads, hold its lease, keep its records. Ctrl-C ends both."""
    import logging
    import re
    import signal

    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root

    from app.core import condition_check
    from app.core.opa import Opa
    from app.core.trust import TrustConfig
    from app.core.verification_policy import VerificationPolicy
    from app.local import tools
    from app.sidecar.agent import Agent
    from app.sidecar.config import SidecarConfig, SidecarFiles
    from app.sidecar.evidence import Evidence

    for option, value in (("--system", system), ("--channel", channel), ("--name", name)):
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", value):
            raise UsageError(f"{option} {value!r}: use lower-case letters, digits and hyphens, at most 63")
    rules = VerificationPolicy.of(certificate_identity, certificate_oidc_issuer, policy)
    rules.require_somebody()
    config = SidecarConfig(
        system=system,
        channel=channel,
        name=name,
        server=client.safe_address(server or client.DEFAULT_SERVER)[0],
        policy=rules,
        files=SidecarFiles(directory.absolute()),
        port=port,
        lease_ttl=lease_ttl,
        lease_renewal=renew,
        refresh_interval=refresh,
        minimum_sequence=minimum_sequence,
        reserve=_size(reserve, "--reserve"),
        record_space=_size(record_space, "--record-space"),
        server_ca=server_ca,
        edge_port=edge_port,
        lineage=TrustConfig.from_file(lineage_trust_config) if lineage_trust_config else None,
    )
    if edge_port == port:
        raise UsageError("--edge-port and --port are the same; OPA and the agent each need their own")
    if config.renewal > config.lease_ttl / 2:
        raise UsageError("--renew must be at most half of --lease-ttl, so that one late renewal ends no lease")
    if config.record_space < 2 * config.reserve:
        raise UsageError("--record-space must be at least twice --reserve")
    root = read_bounded(tuf_root, _MAX_SMALL_FILE, "the TUF root")
    try:
        Metadata[Root].from_bytes(root)
    except RepositoryError as error:
        raise UsageError(
            f"{tuf_root} is not a TUF root; it is tuf-root.json in the control plane's directory"
        ) from error
    if [token_file, join_token, identity_token].count(None) < 2:
        raise UsageError("give one of --token-file, --join-token and --identity-token")
    token, joins_with = (None, None) if identity_token else _given(config.files, token_file, join_token)
    trust = TrustConfig.choose(trust_config, staging=staging)
    binary = Opa(opa or tools.installed("opa"))
    with busy("checking the verification policy"):
        condition_check.require(rules, binary, policy)
    with config.files.held():
        with busy("joining"):
            token = token or _own_token(config, joins_with, identity_token)
        descriptors.allow_all()
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("placet").setLevel(logging.INFO)
        agent = Agent(config, trust, binary, root, token, Evidence(evidence) if evidence else None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: agent.stop())
        logging.getLogger("placet.sidecar").info(
            "starting OPA %s (%s) on https://127.0.0.1:%d; services pin %s",
            binary.version, binary.digest, port, config.files.ca,
        )  # fmt: skip
        agent.run()


@app.command(epilog="Example: placet sidecar status --dir /var/lib/placet")
def status(directory: DirOption = Path("placet-sidecar"), output: OutputOption = Output.TABLE) -> None:
    """Show how the sidecar in a directory stands.

    Exit code 1 when it holds no lease, when the control plane refuses what it sends, or when nobody says so any more.
    """
    import time
    from datetime import datetime

    from app.core import strict_json

    path = directory / "status.json"
    try:
        document: dict[str, Any] = strict_json.load_object(read_bounded(path, _MAX_SMALL_FILE, "the status"))
        age = time.time() - datetime.fromisoformat(document["at"]).timestamp()
        # A status that nobody renews says nothing about now; nor does one that a clock wrote which was set back since.
        stale = not -10.0 <= age <= max(10.0, float(document.get("lease_ttl_seconds", 0)))
        refusals = [_refusal(one) for one in document.get("refused", [])]
    except (strict_json.StrictJSONError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not the status of a sidecar") from error
    document["healthy"] = bool(document.get("healthy")) and not stale
    refused = bool(refusals) and document.get("lease") is True
    state = "silent" if stale else "healthy" if document["healthy"] else "refused" if refused else "no-lease"
    emit({"state": state, **document, "age_seconds": round(age, 1)}, output)
    for refusal in refusals:
        say(refusal)
    if not document["healthy"]:
        raise typer.Exit(1)


def _refusal(one: dict[str, Any]) -> str:
    """What the control plane refuses, since when, why, and what to do."""
    why = f"{one['code']} ({one['detail']})" if one["code"] else one["detail"]
    return f"the control plane refuses its {one['what']} since {one['since']}: {why}. {one['remedy']}"


def _given(files: SidecarFiles, token_file: Path | None, join_token: Path | None) -> tuple[str | None, str | None]:
    """The API token of the file or the environment, or None where the sidecar has one of its own, or joins for it.

    Then the join token for that, if there is one.
    """
    from app.sidecar import joining

    if token_file is not None or (join_token is None and not joining.kept(files).exists()):
        return client.api_token(token_file, _OR_JOIN), None
    if join_token is None or (joining.kept(files).exists() and not join_token.exists()):
        return None, None
    return None, read_secret(join_token, _MAX_TOKEN, "the join token").decode("utf-8", "replace").strip()


def _own_token(config: SidecarConfig, join_token: str | None, identity_token: Path | None) -> str:
    """The sidecar's own API token: what it keeps of joining, which it does now if it must."""
    from app.sidecar import joining

    mine = (config.files, config.server, config.server_ca, config.system, config.name)
    if identity_token is not None:
        return joining.enrolled_token(*mine, identity_token)
    own = joining.own_token(*mine, join_token)
    return own or client.api_token(None, _OR_JOIN)


def _size(text: str, option: str) -> int:
    for unit, factor in _SIZES.items():
        number = text.removesuffix(unit)
        if number != text and number.isascii() and number.isdigit():
            return int(number) * factor
    raise UsageError(f"{option} {text!r}: give a size such as 256MiB")
