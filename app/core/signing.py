"""Signing in-toto statements with Sigstore: a short-lived certificate for an identity, a timestamp, a log entry."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import requests
from requests.adapters import HTTPAdapter
from sigstore.dsse import Statement
from sigstore.errors import Error as SigstoreError
from sigstore.models import InvalidBundle
from sigstore.oidc import ExpiredIdentity, IdentityError, IdentityToken, Issuer, IssuerError, detect_credential
from sigstore.sign import Signer, SigningContext
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from app.core.certificate_name import certified
from app.core.errors import PlacetError, UsageError
from app.core.files import read_secret
from app.core.trust import TrustConfig

#: Seconds: to connect, and to wait for bytes. Rekor v2 answers after its next checkpoint, about a second.
TIMEOUT = (10, 60)

_MAX_TOKEN = 64 * 1024

#: The variable, also of sigstore-python's own command, by which people sign in on another machine and type a code.
BY_CODE = "SIGSTORE_OAUTH_FORCE_OOB"

#: Connections that are kept to one service: as many as sign at the same time with one certificate.
_CONNECTIONS = 32


#: By the variable that tells a CI system: what its job needs so that it has an identity.
_REMEDIES = {
    "GITHUB_ACTIONS": "give the job `permissions: id-token: write`",
    "GITLAB_CI": "give the job `id_tokens: {SIGSTORE_ID_TOKEN: {aud: sigstore}}`",
    "BUILDKITE": "let the job run `buildkite-agent oidc request-token`",
}


class Unanswered(PlacetError):
    """A service of the Sigstore instance did not answer."""


class SigningSession:
    """One certificate of one identity, with which several statements are signed. Valid for about ten minutes."""

    def __init__(self, trust: TrustConfig, token: str) -> None:
        """Ask the certificate authority for a certificate. Raises `PlacetError` or `UsageError`."""
        try:
            identity = IdentityToken(token)
        except (IdentityError, ValueError, TypeError) as error:  # the last: claims of another type, which it compares
            raise UsageError(f"the identity token cannot be used: {_unfit(token, error)}") from error
        #: The Sigstore instance that it signs with.
        self.trust = trust
        try:
            context = SigningContext.from_trust_config(trust.config)
            _bound(context)
            self._signer = Signer(identity, context)
            certificate = self._signer._signing_cert()
            #: When the certificate ends: a signature that is timestamped later is worth nothing.
            self.valid_until: datetime = certificate.not_valid_after_utc
            # Not what the token says: of a CI job's, the authority makes the name of its workflow.
            self.signer = certified(certificate)
        except ExpiredIdentity as error:
            raise UsageError("the identity token has expired; get a new one") from error
        except Exception as error:  # some of sigstore-python's errors have no common class
            raise PlacetError(f"cannot get a signing certificate: {_cause(error)}") from error

    @property
    def identity(self) -> str:
        """The name in the certificate, for which verifiers look."""
        return self.signer.identity

    @property
    def issuer(self) -> str:
        """Who vouched for it."""
        return self.signer.issuer

    @retry(
        retry=retry_if_exception_type(Unanswered),
        stop=stop_after_attempt(3),
        wait=wait_exponential_jitter(multiplier=0.5, max=4),
        reraise=True,
    )
    def sign(self, statement: bytes) -> bytes:
        """Sign a statement. Returns the Sigstore bundle (v0.3) as JSON without line breaks.

        Tried again when a service does not answer: what a broken attempt left in the log is harmless.
        """
        try:
            bundle = self._signer.sign_dsse(Statement(statement))
        except InvalidBundle as error:
            # sigstore-python only warns when an authority does not answer, and then makes no bundle of what it has.
            raise Unanswered("cannot sign: the timestamp authority did not answer; try again") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise Unanswered(f"cannot sign: {_cause(error)}") from error
        except Exception as error:  # some of sigstore-python's errors have no common class
            raise PlacetError(f"cannot sign: {_cause(error)}") from error
        return bundle.to_json().encode()


def identity_token(trust: TrustConfig, file: Path | None, environment: str | None) -> str:
    """The identity to sign with: a file, a variable, the ambient identity of a CI job, or a person's browser.

    A token in the arguments would be visible to every process of the machine, so none is taken there.
    """
    if file:
        return read_secret(file, _MAX_TOKEN, "the identity token").decode(errors="replace").strip()
    if environment:
        return environment.strip()
    ambient = _ambient()
    if ambient:
        return ambient
    return _of_a_person(trust)


def _of_a_person(trust: TrustConfig) -> str:
    """Who signs in with a browser here, or on another machine and types the code that is shown there."""
    by_code = os.environ.get(BY_CODE, "").lower() in ("1", "true", "yes", "on")
    if not sys.stdin.isatty() and (by_code or not _has_browser()):
        raise PlacetError("nobody is here to sign in: no terminal and no browser; give --identity-token FILE")
    try:
        issuer = Issuer(trust.config.signing_config.get_oidc_url())
        issuer.session.hooks["response"].append(_prefer_id_token)
        with redirect_stdout(sys.stderr):  # the question for the code; stdout is for the command's result
            return str(issuer.identity_token(force_oob=by_code))
    except EOFError as error:
        raise PlacetError("no code was typed; give --identity-token FILE") from error
    except LookupError as error:  # what came back is looked up unseen
        raise PlacetError(f"cannot get an identity token: the issuer's answer has no {error}; try again") from error
    except (IdentityError, IssuerError, SigstoreError, requests.RequestException) as error:
        raise PlacetError(f"cannot get an identity token: {_cause(error)}; give --identity-token FILE") from error


def _has_browser() -> bool:
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def _prefer_id_token(response: requests.Response, *_: object, **__: object) -> None:
    """Take what OpenID Connect calls the identity token. sigstore-python takes the access token, the same at Dex."""
    try:
        answer = response.json()
    except ValueError:
        return
    if isinstance(answer, dict) and isinstance(answer.get("id_token"), str):
        vars(response)["json"] = lambda: {**answer, "access_token": answer["id_token"]}


def _ambient() -> str | None:
    """The identity that a CI system gives this job; None outside of one. Raises `PlacetError` when it gives none."""
    try:
        return detect_credential()
    except Exception as error:  # what its HTTP client and its JSON parser raise comes through
        remedy = next((text for variable, text in _REMEDIES.items() if os.environ.get(variable)), "")
        raise PlacetError(
            f"this CI job has no identity: {_cause(error)}; {remedy or 'give --identity-token FILE'}"
        ) from error


def _unfit(token: str, error: BaseException) -> str:
    """Why sigstore-python takes no such token: it says the same of all of them, and keeps the reason in the cause."""
    why = error.__cause__
    if isinstance(why, jwt.ExpiredSignatureError) or "validity period" in str(error):
        return "it has expired, or is not valid yet; get a new one"
    if isinstance(why, jwt.InvalidAudienceError):
        audience = jwt.decode(token, options={"verify_signature": False}).get("aud")
        return f"it is for the audience {str(audience)[:100]!r}, and Fulcio takes those for 'sigstore'"
    if isinstance(why, jwt.DecodeError):
        return f"it is no valid JWT: {_cause(why)}"
    if isinstance(error, TypeError):
        return "a claim is of another type than it must be"
    return _cause(why or error)


def _cause(error: BaseException) -> str:
    """One line; sigstore-python hides some messages in the cause."""
    if isinstance(error, requests.ConnectionError | requests.Timeout) and error.request is not None:
        return f"{urlsplit(str(error.request.url)).netloc} does not answer"
    text = str(error) or str(error.__cause__ or "") or type(error).__name__
    return text.splitlines()[0][:300]


class _Bounded(HTTPAdapter):
    """Gives every request a time limit: sigstore-python sets none."""

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        return super().send(request, stream, timeout or TIMEOUT, verify, cert, proxies)


def _bound(context: SigningContext) -> None:
    for client in (context._fulcio, context._rekor):
        session = getattr(client, "session", None) or getattr(client, "_session", None)
        if not isinstance(session, requests.Session):
            raise PlacetError(
                f"this version of sigstore-python is not supported: {type(client).__name__} has no session"
            )
        session.mount("http://", _Bounded(pool_maxsize=_CONNECTIONS))
        session.mount("https://", _Bounded(pool_maxsize=_CONNECTIONS))
