"""Who may sign for a system, and which attestations a release needs. The file that holds one is the authority."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
)

from app.core import signer_pattern, strict_yaml
from app.core.complaint import fault
from app.core.errors import Denied, UsageError
from app.core.files import read_bounded
from app.core.layout_form import Layout
from app.core.reason_codes import Reason


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


_Text = Annotated[str, StringConstraints(min_length=1, max_length=2048), AfterValidator(_line)]


def _lines(text: str) -> str:
    if not all(letter.isprintable() or letter in "\n\r\t" for letter in text):
        raise ValueError("must be printable characters in lines")
    return text


#: Rego, of which a few lines are enough.
_Rego = Annotated[str, StringConstraints(min_length=1, max_length=8192, pattern=r"\S"), AfterValidator(_lines)]
#: Bytes of a file that holds a policy.
MAX_FILE = 256 * 1024


class SignerIdentity(BaseModel):
    """A certificate identity (its SAN, compared exactly) and the OIDC issuer that vouched for it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    identity: _Text
    issuer: _Text

    def covers(self, name: str) -> bool:
        """Whether a certificate of this name is meant."""
        return name == self.identity

    def __str__(self) -> str:
        return f"{self.identity} (by {self.issuer})"


class SignerPattern(BaseModel):
    """A pattern of certificate identities (`app.core.signer_pattern`), and the issuer that vouches for each of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    pattern: Annotated[_Text, AfterValidator(signer_pattern.check_pattern)]
    issuer: _Text

    def covers(self, name: str) -> bool:
        """Whether a certificate of this name is meant."""
        return signer_pattern.matches(self.pattern, name)

    def __str__(self) -> str:
        return f"{self.pattern} (by {self.issuer})"


class RequiredPredicate(BaseModel):
    """A predicate type that must be attested, and what must hold of every statement of that type.

    `condition` is a Rego query over the statement, `input`: `app.core.conditions` says when it holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: _Text
    condition: _Rego | None = None


def _kind(value: Any) -> str:
    """Which form of a listed signer or of a requirement a value claims to have."""
    if isinstance(value, str):
        return "text"
    given = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return "pattern" if "pattern" in given else "form"


#: One entry of a list of signers.
ListedSigner = Annotated[
    Annotated[SignerIdentity, Tag("form")] | Annotated[SignerPattern, Tag("pattern")], Discriminator(_kind)
]
_Required = Annotated[Annotated[_Text, Tag("text")] | Annotated[RequiredPredicate, Tag("form")], Discriminator(_kind)]


class VerificationPolicy(BaseModel):
    """Any of `identities` may sign, `minimum_signers` of them must; each of `required_predicates` must be attested.

    Whoever may declare one of the two modes is listed for that alone: nobody may unless it says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    identities: Sequence[ListedSigner]
    minimum_signers: Annotated[int, Field(ge=1, le=64)] = 1
    required_predicates: Annotated[Sequence[_Required], Field(max_length=64)] = []
    #: Builtins outside the deterministic set (docs/determinism.md) that this system's policies may call.
    allowed_builtins: Annotated[Sequence[_Text], Field(max_length=64)] = []
    #: The pipeline that a release must have come through (docs/evidence.md).
    layout: Layout | None = None
    shadow: Sequence[SignerIdentity] = []
    break_glass: Sequence[SignerIdentity] = []

    @property
    def requirements(self) -> tuple[RequiredPredicate, ...]:
        """`required_predicates`, each in its long form."""
        return tuple(RequiredPredicate(type=one) if isinstance(one, str) else one for one in self.required_predicates)

    def require_somebody(self) -> None:
        """Deny when nobody may sign, or fewer than must: an empty set never verifies."""
        if not self.identities:
            raise Denied(Reason.EVIDENCE_POLICY_EMPTY, "no identity may sign", step="policy", field="identities")
        if (listed := len({signer_text(one) for one in self.identities})) < self.minimum_signers:
            raise Denied(
                Reason.EVIDENCE_SIGNERS,
                f"asks for {self.minimum_signers} signers and lists {listed}; list more, or ask for fewer",
                step="policy",
                field="minimum_signers",
            )

    @classmethod
    def load(cls, path: Path) -> VerificationPolicy:
        """Read a policy from a YAML file."""
        raw = read_bounded(path, MAX_FILE, "the verification policy")
        try:
            document = strict_yaml.load(raw)
            if not isinstance(document, dict):
                raise UsageError(f"{path} is no verification policy: write `identities:` and below it who may sign")
            return cls.model_validate(document)
        except ValidationError as error:
            raise UsageError(f"{path}: {_complaint(error)}") from error
        except strict_yaml.StrictYAMLError as error:
            raise UsageError(f"{path} is {error}") from error

    @classmethod
    def of(cls, identity: str | None, issuer: str | None, file: Path | None) -> VerificationPolicy:
        """What the options `--certificate-identity`, `--certificate-oidc-issuer` and `--policy` mean."""
        if file:
            if identity or issuer:
                raise UsageError("give --policy, or --certificate-identity with --certificate-oidc-issuer, not both")
            return cls.load(file)
        if not identity or not issuer:
            raise UsageError("say who may sign: --certificate-identity and --certificate-oidc-issuer, or --policy FILE")
        try:
            return cls(identities=[SignerIdentity(identity=identity, issuer=issuer)])
        except ValidationError as error:
            option = "--certificate-oidc-issuer" if "issuer" in error.errors()[0]["loc"] else "--certificate-identity"
            raise UsageError(f"{option}: {_complaint(error).partition(': ')[2]}") from error


def signer_text(listed: SignerIdentity | SignerPattern) -> str:
    """What tells listed signers apart: the name or pattern alone, since one person may have several issuers."""
    return signer_pattern.person(listed.identity) if isinstance(listed, SignerIdentity) else listed.pattern


def _complaint(error: ValidationError) -> str:
    """What is wrong first, and where, without the names of the forms that an entry may have."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = [str(part) for number, part in enumerate(first["loc"]) if part not in {"form", "text"} or not number]
    if len(place) > 2 and place[0] == "identities" and place[2] == "pattern":
        del place[2]
    return f"{'.'.join(place) or 'the document'}: {fault(first)}"
