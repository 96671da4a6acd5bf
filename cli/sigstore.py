"""`placet sigstore`: a local Sigstore, and identities for it."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import platformdirs
import typer

from cli import outputs, signing
from cli.output import Output, OutputOption, emit, messages, say
from cli.progress import busy

if TYPE_CHECKING:
    from app.local.sigstore import LocalSigstore

app = typer.Typer(
    epilog="Examples: placet sigstore up --dir ./sigstore  ·  placet sigstore token --identity dev@example.org"
)

_WARNING = "for development only: whoever reads the keys in {} can sign as anybody"

DirectoryOption = Annotated[
    Path,
    typer.Option(
        "--dir",
        envvar="PLACET_SIGSTORE_DIR",
        default_factory=lambda: platformdirs.user_data_path("placet") / "sigstore",
        show_default="the user's data directory",
        help="Where its keys, logs and ports are kept.",
    ),
]

PortOption = Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the one used before, else fixed.")]


@app.command(epilog="Example: placet sigstore up --dir ./sigstore --spiffe-issuer http://127.0.0.1:8470=example.org")
def up(
    directory: DirectoryOption,
    issuer_port: PortOption = None,
    fulcio_port: PortOption = None,
    ct_log_port: PortOption = None,
    tsa_port: PortOption = None,
    rekor_port: PortOption = None,
    tiles_port: PortOption = None,
    spiffe_issuer: Annotated[
        list[str] | None,
        typer.Option(
            "--spiffe-issuer",
            metavar="URL=DOMAIN",
            help="An issuer whose tokens get certificates for SPIFFE IDs of this trust domain, such as a control "
            "plane for its sidecars. May be given again.",
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run Fulcio, a CT log, a timestamp authority, Rekor v2 and a server of its tiles on loopback until Ctrl-C.

    An OIDC issuer for development comes with them. Prints the addresses and the trust config, which
    sigstore-python, cosign and `--trust-config` take, once every service answers. Keys and logs persist.
    """
    import dataclasses

    from app.local.sigstore import LocalSigstore, Ports

    chosen = {
        "issuer": issuer_port,
        "fulcio": fulcio_port,
        "ct_log": ct_log_port,
        "tsa": tsa_port,
        "rekor": rekor_port,
        "tiles": tiles_port,
    }
    ports = dataclasses.replace(
        Ports.kept_in(directory) or Ports(), **{name: port for name, port in chosen.items() if port is not None}
    )
    # Ctrl-C as well: a shell has what it starts in the background ignore it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    stack = LocalSigstore(directory, ports, spiffe_issuers=_spiffe_issuers(spiffe_issuer or []))
    try:
        with busy("starting the local Sigstore"):
            stack.start()
        messages.print(_WARNING.format(stack.directory), markup=False)
        messages.print("running; Ctrl-C stops it")
        emit({**stack.urls, "trust_config": str(stack.trust_config)}, output)
        sys.stdout.flush()
        _watch(stack)
    except KeyboardInterrupt:
        messages.print("stopped")
    finally:
        stack.stop()


@app.command(epilog="Example: placet sigstore token --identity dev@example.org -o dev.jwt")
def token(
    directory: DirectoryOption,
    identity: Annotated[str, typer.Option(help="Who it is for: an e-mail address, or the name of a workload.")],
    audience: Annotated[
        str, typer.Option("--audience", "--aud", help="Who will check it; Fulcio is `sigstore`.")
    ] = "sigstore",
    ttl: Annotated[int, typer.Option(help="Seconds that it is valid.")] = 600,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write it there, mode 0600. Default: print it.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print an identity token of the development issuer.

    The stack need not run, but must have run once. For a workload, name another audience than `sigstore`.
    """
    from app.local.sigstore import LocalSigstore

    stack = LocalSigstore(directory)
    with outputs.place(out) as place:
        minted = stack.token(identity, audience, ttl)
        if place is not None:
            place.keep(minted.encode() + b"\n")
    messages.print(f"token of the development issuer, {_WARNING.format(stack.directory)}", markup=False)
    about = {"identity": identity, "issuer": stack.issuer_url, "audience": audience}
    if output is Output.JSON:
        emit(about if out else {"token": minted, **about}, output)
    elif out is None:
        sys.stdout.write(minted + "\n")
    else:
        say(f"The token is in {out}")


@app.command(epilog="Example: placet sigstore status --output json")
def status(directory: DirectoryOption, output: OutputOption = Output.TABLE) -> None:
    """Show whether each service answers; exit code 1 unless all do."""
    from app.core.errors import PlacetError
    from app.local.sigstore import LocalSigstore, Ports

    if Ports.kept_in(directory) is None:
        raise PlacetError(f"no local Sigstore has run in {directory}; run: placet sigstore up")
    stack = LocalSigstore(directory)
    answers = stack.status()
    emit(
        [
            {"service": service, "url": url, "state": "answers" if answers[service] else "down"}
            for service, url in stack.urls.items()
        ],
        output,
    )
    if not all(answers.values()):
        raise typer.Exit(1)


@app.command(epilog="Example: placet sigstore pin -o public-good.json")
def pin(
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write, for --trust-config.")],
    staging: signing.StagingOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep what Sigstore's public instance is trusted for now in a file: who verifies with it asks nobody.

    Its root is refreshed over the network and checked by TUF, this once. Its keys change now and then: what is signed
    with new ones needs a new file.
    """
    from app.core.files import write_atomically

    trust = signing.trust(None, staging)
    write_atomically(out, trust.document(), mode=0o644)
    config = trust.config.signing_config
    emit({"trust_config": str(out), "issuer": config.get_oidc_url(), "fulcio": config.get_fulcio().url}, output)


def _spiffe_issuers(given: list[str]) -> dict[str, str]:
    from app.core.errors import UsageError

    found: dict[str, str] = {}
    for text in given:
        url, equals, domain = text.rpartition("=")
        if not equals:
            raise UsageError(f"--spiffe-issuer {text!r}: write URL=DOMAIN, such as http://127.0.0.1:8470=example.org")
        if found.setdefault(url, domain) != domain:
            raise UsageError(f"--spiffe-issuer: {url} cannot vouch for two trust domains")
    return found


def _watch(stack: LocalSigstore) -> NoReturn:
    while True:
        stack.check()
        time.sleep(0.5)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
