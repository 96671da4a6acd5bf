"""`placet server`: set up and run the control plane."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from app.core.errors import PlacetError, UsageError
from cli import asking, descriptors, progress
from cli.fsck import fsck
from cli.output import Output, OutputOption, emit, messages
from cli.recount import recount
from cli.server_directory import DirectoryOption, directory_of
from cli.server_listening import TrustedProxyOption, bind, check_tls, trusted_proxies
from cli.server_verifiers import batch_verifier, break_signer, verifiers

app = typer.Typer(epilog="Example: placet server init --dir ./control  ·  placet server run --dir ./control")

_WILDCARDS = {"0.0.0.0", "::", ""}  # noqa: S104 - compared with, not bound to


@app.command(epilog="Example: placet server init --dir ./control --root-key-out ./offline/tuf-root.pem")
def init(
    context: typer.Context,
    directory: DirectoryOption = None,
    database: Annotated[
        str | None,
        typer.Option(
            envvar="PLACET_DATABASE",
            help="postgresql://HOST/NAME or sqlite:///FILE. Default: SQLite in the directory. "
            "A URL with a password goes into PLACET_DATABASE.",
            show_default=False,
        ),
    ] = None,
    objects: Annotated[
        str | None,
        typer.Option(
            help="Object store: s3://BUCKET/PREFIX, gs://…, az://… or file:///DIR. Default: in the directory. "
            "Credentials come from the environment.",
            show_default=False,
        ),
    ] = None,
    root_key_out: Annotated[
        Path | None,
        typer.Option(
            "--root-key-out",
            help="Where to write the TUF root key. Default: beside the directory.",
            show_default=False,
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(
            help="This control plane's trust domain, one that no other has. Default: placet.internal.",
            show_default=False,
        ),
    ] = None,
    warrant_key: Annotated[
        str | None,
        typer.Option(
            help="A key that is there already, to sign warrants with: hsm:KEYID?label=TOKEN, awskms:…, gcpkms:…, "
            "azurekms://… or file:/PATH. Default: a new one in the directory.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a control plane: its keys, its database and the first administrator's token. All of it or nothing."""
    from app.control.settings import DEFAULT_DOMAIN, parse_database_url
    from app.core.trust_domain import trust_domain

    where = directory_of(directory)
    if database is not None:
        source = context.get_parameter_source("database")
        if parse_database_url(database).password and source and source.name == "COMMANDLINE":
            raise UsageError("a password in the arguments is visible to the whole machine; set PLACET_DATABASE instead")
    root_key = root_key_out or where.absolute().with_name(f"{where.absolute().name}-root-key.pem")
    with progress.busy("making keys and database"):
        from app.control.installation import initialise  # it takes as long as all the rest

        made = initialise(where, root_key, database, objects, trust_domain(domain or DEFAULT_DOMAIN), warrant_key)
    messages.print(f"The TUF root key is in {made.root_key}. Move it offline now: it can replace every other key.")
    messages.print(f"Sidecars pin {made.root_metadata}. The first token is in {made.admin_token}.")
    emit(
        {
            "directory": str(made.directory),
            "root_key": str(made.root_key),
            "tuf_root": str(made.root_metadata),
            "admin_token_file": str(made.admin_token),
        },
        output,
    )


@app.command(epilog="Example: placet server migrate --dir ./control")
def migrate(directory: DirectoryOption = None, output: OutputOption = Output.TABLE) -> None:
    """Bring the database to the schema of this version. Stop the server first, and have a backup."""
    from app.control import installation
    from app.control.settings import Settings

    with progress.busy("migrating"):
        emit({"schema": installation.migrate(Settings.load(directory_of(directory)))}, output)


@app.command(
    epilog="Examples: placet server seal --dir ./control --yes  ·  placet server seal --row hold/3 --row quarantine/7"
)
def seal(
    directory: DirectoryOption = None,
    row: Annotated[
        list[str] | None,
        typer.Option(
            "--row", metavar="TABLE/ROW", help="Only this row, as fsck names it; the server may run. Repeatable."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take all rows that nobody signs as they are now, such as after a repair by hand, or when the key was lost.

    Stop the server first, unless you name rows. Look at what `placet server fsck` says before: it will no longer name
    what was changed.
    """
    from app.control import installation
    from app.control.settings import Settings

    settings = Settings.load(directory_of(directory))
    if row:
        for one in row:
            installation.seal_row(settings, one)
        emit({"sealed": len(row), "key": str(settings.seal_key)}, output)
        return
    asking.confirm("Of these rows, fsck will no longer name what was changed. Go on?", yes, "what server fsck says")
    with progress.busy("sealing"):
        emit({"sealed": installation.seal(settings), "key": str(settings.seal_key)}, output)


@app.command(epilog="Example: placet server run --dir ./control --trust-config sigstore/trust-config.json")
def run(
    directory: DirectoryOption = None,
    host: Annotated[str, typer.Option(help="The address to listen on; another than loopback needs TLS.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8470,
    trust_config: Annotated[
        Path | None,
        typer.Option("--trust-config", help="A Sigstore ClientTrustConfig. Default: the public-good instance."),
    ] = None,
    staging: Annotated[bool, typer.Option("--staging", help="Trust Sigstore's staging instance.")] = False,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its private key, PEM.")] = None,
    opa: Annotated[Path | None, typer.Option("--opa", help="Another OPA than the pinned build.")] = None,
    freshness_interval: Annotated[
        float,
        typer.Option("--freshness-interval", min=0.1, max=3600, help="Seconds between signatures of the timestamp."),
    ] = 5.0,
    allow_private_issuers: Annotated[
        bool, typer.Option("--allow-private-issuers", help="Fetch issuers' keys from private addresses too, by https.")
    ] = False,
    allow_loopback_issuers: Annotated[
        bool,
        typer.Option(
            "--allow-loopback-issuers", help="Fetch issuers' keys from this machine too, also by http: for development."
        ),
    ] = False,
    identity_issuer: Annotated[
        str | None,
        typer.Option(
            "--identity-issuer",
            metavar="URL",
            help="The address at which Fulcio reaches this control plane, as the issuer of its sidecars' identities. "
            "Default: where it listens.",
            show_default=False,
        ),
    ] = None,
    lineage_trust_config: Annotated[
        Path | None,
        typer.Option(
            "--lineage-trust-config",
            help="A Sigstore ClientTrustConfig, of the log into which sidecars enter their signed batches. "
            "Default: lineage_trust_config of settings.json, else none.",
            show_default=False,
        ),
    ] = None,
    unsigned_records: Annotated[
        bool,
        typer.Option(
            "--unsigned-records",
            help="Take records that nobody signed, where there is no lineage log: such records prove nothing. "
            "Without this they are refused.",
        ),
    ] = False,
    reading_processes: Annotated[
        int | None,
        typer.Option(
            "--reading-processes",
            min=0,
            max=256,
            help="Processes beside this one that read large batches of records, started with the first of those. "
            "Default: one for each core, of two or more.",
            show_default=False,
        ),
    ] = None,
    trusted_proxy: TrustedProxyOption = None,
) -> None:
    """Run the control plane with its web UI until Ctrl-C or SIGTERM."""
    secure = check_tls(host, tls_cert, tls_key)
    proxies = trusted_proxies(trusted_proxy)
    descriptors.allow_all()

    import uvicorn

    from app.control import processes
    from app.control.app import create_app
    from app.control.batch_readers import Readers, usual
    from app.control.identity_issuer import issuer_url
    from app.control.outbound import Outbound
    from app.control.plane import Plane
    from app.control.settings import Settings

    settings = Settings.load(directory_of(directory))
    outbound = Outbound(private=allow_private_issuers, loopback=allow_loopback_issuers)
    issuer = issuer_url(identity_issuer) if identity_issuer is not None else None
    verify_batch = batch_verifier(lineage_trust_config or settings.lineage_trust)
    if unsigned_records and verify_batch is not None:
        raise UsageError("there is a lineage log, so records come signed: leave out --unsigned-records")
    with bind(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        address = f"{'https' if secure else 'http'}://{shown}:{listener.getsockname()[1]}"
        if issuer is None:
            issuer = "" if host in _WILDCARDS else address  # nobody reaches a wildcard by its name
        verify, verify_statement, check_policy = verifiers(trust_config, staging, opa)
        readers = Readers(usual() if reading_processes is None else reading_processes)
        plane = Plane.open(
            settings, verify, verify_statement, outbound, verify_batch, issuer, check_policy, readers, unsigned_records
        )
        sign = break_signer(plane, lineage_trust_config or settings.lineage_trust)
        by_tls = secure or bool(proxies)
        application = create_app(plane, freshness_interval=freshness_interval, secure_cookies=by_tls, sign=sign)
        config = uvicorn.Config(
            application,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=10,
            ssl_certfile=str(tls_cert) if tls_cert else None,
            ssl_keyfile=str(tls_key) if tls_key else None,
            proxy_headers=bool(proxies),  # by a caller's address it is slowed down, and told in logs and pages
            forwarded_allow_ips=proxies,
        )
        processes.settle()
        # uvicorn stops gracefully on these and then raises them again; a wanted stop is no failure.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        messages.print(f"Control plane at {address} (Ctrl-C ends it)")
        if issuer != address:
            said = f"issues its sidecars' identities as {issuer}" if issuer else "issues no identities"
            messages.print(f"It {said} (--identity-issuer)", markup=False)
        if verify_batch is None:
            taken = "taken without a signature" if unsigned_records else "refused (--unsigned-records takes them)"
            messages.print(f"No lineage log (--lineage-trust-config): records are {taken}", markup=False)
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
    if not server.started:
        raise PlacetError("the control plane did not start; the lines above say why")
    messages.print("Control plane stopped")


app.command(epilog="Example: placet server fsck --dir ./control --output json")(fsck)
app.command(epilog="Examples: placet server recount --dir ./control  ·  placet server recount --batch 17")(recount)
