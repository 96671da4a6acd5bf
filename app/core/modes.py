"""The two modes for real life, as signed statements: *shadow* and *break-glass*. Both end by themselves.

A mode is an in-toto statement about one system: its subject is the SHA-256 of the system's audience
(`spiffe://DOMAIN/system/SYSTEM`), its predicate says why, from when and until when, and for break-glass for whom and
what. Who may sign one is said by the verification policy of whoever verifies: a sidecar goes by its own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal, Protocol

from cryptography.x509 import ExtensionNotFound, SubjectAlternativeName
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sigstore.models import Bundle, InvalidBundle

from app.core import statements, strict_json
from app.core.complaint import complaint
from app.core.errors import Denied
from app.core.evidence import VerifiedStatement, verify_evidence
from app.core.governance import Pattern
from app.core.instant import written
from app.core.reason_codes import Reason
from app.core.targets import Line
from app.core.trust import TrustConfig
from app.core.verification_policy import SignerIdentity, VerificationPolicy

Kind = Literal["shadow", "break-glass"]

SHADOW = f"{statements.PLACET}/shadow/v1"
BREAK_GLASS = f"{statements.PLACET}/break-glass/v1"

#: How long each may be, and how many different people must have signed it.
LONGEST = {SHADOW: timedelta(days=30), BREAK_GLASS: timedelta(hours=4)}
SIGNERS = {SHADOW: 1, BREAK_GLASS: 2}

#: Pieces of evidence for one mode (`app.core.governance.SignedMode`).
MAX_EVIDENCE = 4

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_STEP = "mode"


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("must be words on one line")
    return text


def _moment(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise ValueError("must be a time such as 2026-01-31T12:00:00Z")
    datetime.fromisoformat(text)
    return text


Moment = Annotated[str, AfterValidator(_moment)]


class Subject(BaseModel):
    """A verified subject, compared exactly."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    issuer: Line
    id: Line


class _Predicate(BaseModel):
    """What both predicates say."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    #: The system's audience.
    system: Line
    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_printable)]
    from_: Annotated[Moment, Field(alias="from")]
    until: Moment


class Shadow(_Predicate):
    """The policy's own denials are recorded, not enforced; identity, lease, quarantine and the rest still are."""


class BreakGlass(_Predicate):
    """Named subjects may do these actions on these resources, whatever would deny them but trust itself."""

    subjects: Annotated[list[Subject], Field(min_length=1, max_length=64)]
    actions: Annotated[list[Pattern], Field(min_length=1, max_length=32)]
    resources: Annotated[list[Pattern], Field(min_length=1, max_length=32)]


_FORMS: dict[str, type[Shadow] | type[BreakGlass]] = {SHADOW: Shadow, BREAK_GLASS: BreakGlass}


@dataclass(frozen=True)
class Mode:
    """A mode that verified and has not ended; `from_ns` may lie ahead."""

    kind: Kind
    id: str
    reason: str
    begins: datetime
    until: datetime
    #: For break-glass: whom and what it is for. Empty for shadow, which is about everyone.
    subjects: tuple[Subject, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    #: Who signed it, in the order of the evidence.
    signers: tuple[SignerIdentity, ...]

    @property
    def from_ns(self) -> int:
        """From when it holds, nanoseconds since the epoch, inclusive."""
        return int(self.begins.timestamp()) * 1_000_000_000

    @property
    def until_ns(self) -> int:
        """Until when it holds, nanoseconds since the epoch, exclusive."""
        return int(self.until.timestamp()) * 1_000_000_000

    @property
    def by(self) -> list[str]:
        """The names of those who signed it, each once."""
        return list(dict.fromkeys(signer.identity for signer in self.signers))


class Verify(Protocol):
    """How one piece of evidence is verified: `verify_evidence` with a trust configuration."""

    def __call__(self, raw: bytes, *, subject: str, policy: VerificationPolicy, step: str) -> VerifiedStatement:
        """Raises `Denied`."""


def statement_of(mode: Shadow | BreakGlass) -> bytes:
    """The statement to sign; signing it makes it a declaration."""
    kind = SHADOW if isinstance(mode, Shadow) else BREAK_GLASS
    _require_span(kind, mode)
    subject = statements.resource(mode.system, subject_of(mode.system))
    return statements.statement([subject], kind, mode.model_dump(by_alias=True))


def read_declaration(evidence: str) -> Shadow | BreakGlass:
    """What somebody declared and signed, for the one who shall sign it too. The signature is not looked at.

    Raises `Denied` unless signing the result gives exactly the same statement.
    """
    try:
        document = strict_json.load_object(evidence.encode("utf-8", "surrogatepass"))
        payload = base64.b64decode(document["dsseEnvelope"]["payload"], validate=True)
        statement = strict_json.load_object(payload)
        predicate = _FORMS[statement["predicateType"]].model_validate(statement["predicate"])
    except (ValueError, LookupError, TypeError) as error:
        raise _invalid("the evidence is no declaration of a mode") from error
    if statement_of(predicate) != payload:
        raise _invalid("the evidence is written in another way than declarations are")
    return predicate


def names_in(evidence: Sequence[str]) -> list[str]:
    """Who signed, as the certificates say. NOTHING IS VERIFIED. Raises `Denied` for what is no Sigstore bundle."""
    try:
        certificates = [Bundle.from_json(one).signing_certificate for one in evidence]
        names = [one.extensions.get_extension_for_class(SubjectAlternativeName).value for one in certificates]
    except (InvalidBundle, ExtensionNotFound, ValueError) as error:
        raise _invalid(f"not a Sigstore bundle: {type(error).__name__}") from error
    return [str(name.value) for found in names for name in found]


def predicate_of(mode: Mode, audience: str) -> dict[str, Any]:
    """The predicate that a verified mode of the system with `audience` came from."""
    scope = {
        "subjects": [subject.model_dump() for subject in mode.subjects],
        "actions": list(mode.actions),
        "resources": list(mode.resources),
    }
    return {
        "system": audience,
        "id": mode.id,
        "reason": mode.reason,
        "from": written(mode.begins),
        "until": written(mode.until),
        **(scope if mode.kind == "break-glass" else {}),
    }


def subject_of(audience: str) -> str:
    """What a mode of the system with this audience is about: `sha256:…`."""
    return "sha256:" + hashlib.sha256(audience.encode()).hexdigest()


def verify_mode(
    evidence: Sequence[str], *, policy: VerificationPolicy, trust: TrustConfig, audience: str, now: datetime
) -> Mode:
    """Verify a mode of the system with `audience` by its Sigstore bundles. Raises `Denied` with `mode.invalid`.

    `policy` alone says who may sign. A mode that has not begun yet verifies; one that has ended does not.
    """
    return judge(evidence, policy=policy, verify=partial(verify_evidence, trust=trust), audience=audience, now=now)


def judge(evidence: Sequence[str], *, policy: VerificationPolicy, verify: Verify, audience: str, now: datetime) -> Mode:
    """As `verify_mode`, with the way to verify one piece of evidence."""
    # (1) Each piece is signed by somebody who may declare such a mode, and is about this system.
    if not 1 <= len(evidence) <= MAX_EVIDENCE:
        raise _invalid(f"a mode has 1 to {MAX_EVIDENCE} pieces of evidence")
    verified = [
        _verified(one.encode("utf-8", "surrogatepass"), policy, verify, audience, number)
        for number, one in enumerate(evidence)
    ]

    # (2) All say the same.
    first = verified[0]
    if any(other.statement != first.statement for other in verified):
        raise _invalid("the pieces of evidence are about different statements")
    predicate = _predicate(first)
    if len(first.statement["subject"]) != 1 or predicate.system != audience:
        raise _invalid(f"it is about {predicate.system}, not {audience}")

    # (3) Enough different people signed it. One name under two issuers is one person.
    if len({one.signer.identity.casefold() for one in verified}) < SIGNERS[first.predicate_type]:
        raise _invalid(f"it needs {SIGNERS[first.predicate_type]} different signers")

    # (4) Its time is bounded and not over, and it was signed before it ended.
    begins, until = _require_span(first.predicate_type, predicate)
    if now >= until:
        raise _invalid(f"it ended at {predicate.until}")
    if any(one.signed_at >= until for one in verified):
        raise _invalid("it was signed after its end")
    scope = predicate if isinstance(predicate, BreakGlass) else None
    return Mode(
        kind="break-glass" if scope else "shadow",
        id=predicate.id,
        reason=predicate.reason,
        begins=begins,
        until=until,
        subjects=tuple(scope.subjects) if scope else (),
        actions=tuple(scope.actions) if scope else (),
        resources=tuple(scope.resources) if scope else (),
        signers=tuple(one.signer for one in verified),
    )


def _verified(raw: bytes, policy: VerificationPolicy, verify: Verify, audience: str, number: int) -> VerifiedStatement:
    """One piece: who may sign depends on what it claims to be, so it is verified for each kind's signers in turn."""
    refusals = []
    for kind, signers in ((SHADOW, policy.shadow), (BREAK_GLASS, policy.break_glass)):
        if not signers:
            continue
        allowed = VerificationPolicy(identities=signers)
        try:
            found = verify(raw, subject=subject_of(audience), policy=allowed, step=f"{_STEP}[{number}]")
        except Denied as denied:
            refusals.append(denied)
            continue
        if found.predicate_type == kind:
            return found
        refusals.append(_invalid(f"{found.signer.identity} may not sign a {found.predicate_type}"))
    if not refusals:
        raise _invalid("the verification policy lets nobody declare shadow or break-glass")
    raise _invalid(refusals[-1].detail) from refusals[-1]


def _predicate(verified: VerifiedStatement) -> Shadow | BreakGlass:
    try:
        return _FORMS[verified.predicate_type].model_validate(verified.statement["predicate"])
    except ValidationError as error:
        raise _invalid(complaint(error)) from error


def _require_span(kind: str, predicate: _Predicate) -> tuple[datetime, datetime]:
    begins, until = (datetime.fromisoformat(one).astimezone(UTC) for one in (predicate.from_, predicate.until))
    if not begins < until:
        raise _invalid("it ends before it begins")
    if until - begins > LONGEST[kind]:
        days, hours = LONGEST[kind].days, LONGEST[kind].seconds // 3600
        raise _invalid(f"it may last {f'{days} days' if days else f'{hours} hours'} at most")
    return begins, until


def _invalid(detail: str) -> Denied:
    return Denied(Reason.MODE_INVALID, detail, step=_STEP)
