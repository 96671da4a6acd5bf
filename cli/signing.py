"""How commands sign with Sigstore: the options that choose the instance and the identity."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.core.errors import PlacetError, UsageError
from cli.deadline import within
from cli.progress import busy

if TYPE_CHECKING:
    from app.core.signing import SigningSession
    from app.core.trust import TrustConfig

#: Seconds for a person to sign in. Who closes the browser's window is waited for, too: nothing tells us.
_SIGN_IN = 600

TrustConfigOption = Annotated[
    Path | None, typer.Option("--trust-config", help="A Sigstore ClientTrustConfig. Default: the public-good instance.")
]
StagingOption = Annotated[bool, typer.Option("--staging", help="Use Sigstore's staging instance.")]
IdentityTokenOption = Annotated[
    Path | None,
    typer.Option(
        "--identity-token",
        help="A file that holds an OIDC identity token; or set PLACET_IDENTITY_TOKEN. "
        "Default: the CI job's own identity, else a browser; SIGSTORE_OAUTH_FORCE_OOB=1 asks for a code instead.",
    ),
]


def trust(file: Path | None, staging: bool) -> TrustConfig:
    """The Sigstore instance that the options name."""
    from app.core.trust import TrustConfig

    return TrustConfig.choose(file, staging=staging)


def check(trust_config: Path | None, staging: bool, token_file: Path | None) -> None:
    """Complain now about options with which `session` would fail after something that takes long."""
    _require_file(token_file)
    trust(trust_config, staging)
    if token_file and not token_file.is_file():
        raise UsageError(f"cannot read the identity token {token_file}: there is no such file")


def session(trust_config: Path | None, staging: bool, token_file: Path | None) -> SigningSession:
    """A certificate of that instance for the identity that the options and the environment name."""
    from app.core.signing import SigningSession, identity_token

    _require_file(token_file)
    instance = trust(trust_config, staging)
    with within(_SIGN_IN, PlacetError(f"nobody signed in within {_SIGN_IN // 60} minutes; run this again")):
        token = identity_token(instance, token_file, os.environ.get("PLACET_IDENTITY_TOKEN"))
    with busy("asking for a certificate"):
        return SigningSession(instance, token)


def _require_file(token_file: Path | None) -> None:
    if token_file and str(token_file).count(".") == 2 and str(token_file).startswith("ey"):
        raise UsageError("--identity-token takes a file: a token in the arguments is visible to the whole machine")
