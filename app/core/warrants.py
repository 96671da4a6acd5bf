"""A warrant: a signed JWT that authorizes a subject to do named actions on named resources until a time.

This module knows one warrant: its claims, how it is signed, and how it is read without being believed. Chains are in
`app.core.warrant_chain`. The same rules stand in `rego/placet/`, where decisions are made; this module is stricter only
where JSON parsers disagree (a member that stands twice) and about lengths that no real name has.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from app.core import strict_json
from app.core.complaint import complaint, place, printable
from app.core.errors import Denied, PlacetError, UsageError
from app.core.governance import Pattern
from app.core.holder_keys import Jwk, public_jwk
from app.core.reason_codes import Reason
from app.core.targets import Digest, Line
from app.core.warrant_scope import Constraints

#: `typ` of the header of a warrant.
TYPE = "warrant+jwt"
ALGORITHMS = ("EdDSA", "ES256")

#: Characters of one token, and tokens of one chain.
MAX_TOKEN = 8192
MAX_CHAIN = 9

#: Greatest number of further delegations.
MAX_DEPTH = 8


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 600.0 is 600."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


Whole = Annotated[int, BeforeValidator(_whole)]
#: Seconds since the epoch, up to 9999-12-31T23:59:59Z, beyond which RFC 3339 has no dates.
Time = Annotated[Whole, Field(ge=0, le=253_402_300_799)]
#: How many executions a warrant may start.
Uses = Annotated[Whole, Field(ge=1, le=253_402_300_799)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_HEADER = {"alg", "kid", "typ"}


class Part(BaseModel):
    """A part of a warrant: strict, never changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Principal(Part):
    """Somebody, by the issuer that vouches for the name."""

    issuer: Line
    id: Line

    def __str__(self) -> str:
        return f"{self.issuer}#{self.id}"


class SubjectId(Part):
    """The subject with its issuer: a subject identifier of RFC 9493."""

    format: Literal["iss_sub"] = "iss_sub"
    iss: Line
    sub: Line


class Actor(Part):
    """Who may use the warrant on the subject's behalf (RFC 8693, one level)."""

    iss: Line
    sub: Line


class Confirmation(Part):
    """The holder's public key (RFC 7800): whoever uses or delegates the warrant proves that they have it."""

    jwk: dict[str, str]

    @field_validator("jwk")
    @classmethod
    def _usable(cls, jwk: dict[str, str]) -> Jwk:
        return public_jwk(jwk)


class WarrantClaims(Part):
    """Everything that a warrant says. There are no other claims."""

    iss: Line
    sub: Line
    sub_id: SubjectId
    act: Actor | None = None
    aud: Line | Annotated[list[Line], Field(min_length=1, max_length=32)]
    iat: Time
    nbf: Time | None = None
    exp: Time
    jti: Identifier
    actions: Annotated[list[Pattern], Field(min_length=1, max_length=32)]
    resources: Annotated[list[Pattern], Field(min_length=1, max_length=32)]
    constraints: Constraints | None = None
    uses: Uses | None = None
    depth: Annotated[Whole, Field(ge=0, le=MAX_DEPTH)] | None = None
    cnf: Confirmation | None = None
    #: Of a root alone: the signed statement of the approval by which it was issued.
    approval: Digest | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sub_id.sub != self.sub:
            raise ValueError("sub and sub_id name different subjects")
        if max(self.iat, self.nbf or 0) >= self.exp:
            raise ValueError("it ends before it begins: iat and nbf lie before exp")
        return self

    @property
    def subject(self) -> Principal:
        """On whose behalf the warrant is used."""
        return Principal(issuer=self.sub_id.iss, id=self.sub)

    @property
    def actor(self) -> Principal | None:
        """Who uses it for the subject, when that is somebody else."""
        return Principal(issuer=self.act.iss, id=self.act.sub) if self.act else None

    @property
    def holder(self) -> Principal:
        """Who uses it, and who may delegate it."""
        return self.actor or self.subject

    @property
    def audiences(self) -> list[str]:
        """The systems that it is for."""
        return self.aud if isinstance(self.aud, list) else [self.aud]

    @property
    def further(self) -> int:
        """How often it may be delegated further."""
        return self.depth or 0

    def document(self) -> dict[str, Any]:
        """The claims as JSON, without those that are absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True)
class UnverifiedWarrant:
    """A warrant as it was found. Nothing shows yet that anybody signed it."""

    token: str
    alg: str
    kid: str | None
    claims: WarrantClaims


def mint(claims: WarrantClaims, sign: Callable[[bytes], bytes], *, alg: str, kid: str | None = None) -> str:
    """Sign a warrant with a key that may lie elsewhere.

    `sign` gives the JWS signature of the bytes: 64 bytes for Ed25519, and r and s of 32 bytes each for ES256
    (RFC 7518, section 3.4). Raises `UsageError` when the warrant would be too long to be accepted.
    """
    if alg not in ALGORITHMS:
        raise UsageError(f"{alg!r} is no algorithm of warrants; EdDSA and ES256 are")
    header = {"alg": alg, "typ": TYPE, **({"kid": kid} if kid else {})}
    signed = f"{_encode(strict_json.canonical(header))}.{_encode(strict_json.canonical(claims.document()))}"
    signature = sign(signed.encode())
    if len(signature) != 64:
        raise PlacetError(f"the key returned a signature of {len(signature)} bytes; a JWS signature here has 64")
    return bounded(f"{signed}.{_encode(signature)}")


def bounded(token: str) -> str:
    """The token, if it is short enough for a decision. Raises `UsageError`."""
    if len(token) > MAX_TOKEN:
        raise UsageError(f"the warrant would be {len(token)} characters long; at most {MAX_TOKEN} are accepted")
    return token


def read(token: str) -> UnverifiedWarrant:
    """Read a warrant WITHOUT verifying it: for looking at it, and for choosing the key to verify it with.

    Raises `Denied` with `warrant.malformed`, whatever the token is.
    """
    if len(token) > MAX_TOKEN:
        raise malformed(f"it has {len(token)} characters; at most {MAX_TOKEN} are accepted")
    if not _FORM.fullmatch(token):
        raise malformed("it is not a JWT: three parts in base64url, with dots between them")
    encoded_header, encoded_claims, _ = token.split(".")
    header = _object(encoded_header, "header")
    if not set(header) <= _HEADER or header.get("typ") != TYPE:
        raise malformed(f"its header holds alg, kid and typ alone, and its typ is {TYPE}", field="header")
    alg, kid = header.get("alg"), header.get("kid")
    if alg not in ALGORITHMS or not isinstance(header.get("kid", ""), str):
        raise malformed("the alg in its header is EdDSA or ES256, and kid is a string", field="header")
    return UnverifiedWarrant(token, alg, kid, parse_claims(_object(encoded_claims, "claims")))


def parse_claims(document: Mapping[str, Any]) -> WarrantClaims:
    """The claims of a document. Raises `Denied` with `warrant.malformed` and the member that is wrong."""
    if null := _null_in(document):
        raise malformed(f"{null} is null; leave the member out", field=null)
    try:
        return WarrantClaims.model_validate(document)
    except ValidationError as error:
        raise malformed(complaint(error), field=place(error) or None) from error


def malformed(detail: str, *, field: str | None = None) -> Denied:
    """The denial of a warrant that is not of the expected form."""
    return refusal(Reason.WARRANT_MALFORMED, detail, step="form", field=field)


def refusal(reason: Reason, detail: str, *, step: str, field: str | None) -> Denied:
    """A denial whose words may come from a token: on one line, not too long, and nothing that a terminal obeys."""
    return Denied(reason, printable(detail)[:600], step=step, field=printable(field)[:200] if field else None)


def _null_in(document: Mapping[str, Any]) -> str | None:
    """Where a null stands, among the members and one level below."""
    for name, value in document.items():
        if value is None:
            return str(name)
        if isinstance(value, dict) and (below := _null_in(value)):
            return f"{name}.{below}"
    return None


def _object(encoded: str, what: str) -> dict[str, Any]:
    try:
        return strict_json.load_object(_decode(encoded))
    except (binascii.Error, strict_json.StrictJSONError) as error:
        raise malformed(f"its {what} cannot be read: {error}", field=what) from error


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
