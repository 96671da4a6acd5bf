"""A layout for a release pipeline: which steps lead to a bundle, who may do each, and what goes in and comes out.

It is in-toto's layout with Sigstore identities in place of keys, written as YAML (docs/evidence.md):

    layout: payments
    expires: "2027-12-31T00:00:00Z"
    steps:
      - name: build
        functionaries: [{identity: ci@example.org, issuer: https://accounts.example.org}]
        threshold: 1
        expected_materials: [[ALLOW, "policy/*"], [DISALLOW, "*"]]
        expected_products: [[CREATE, payments.tar.gz], [DISALLOW, "*"]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from app.core import statements, strict_json, strict_yaml
from app.core.bundle import digest_of
from app.core.complaint import complaint
from app.core.errors import UsageError
from app.core.files import read_bounded
from app.core.layout_rules import check_layout
from app.core.link_form import Part, Word
from app.core.signer_pattern import person

#: Bytes of a layout, and of its signature with it. Thousands of steps would cost in-toto's rules seconds.
MAX_LAYOUT = 256 * 1024
MAX_SIGNED = 1024 * 1024
MAX_STEPS = 64
MAX_RULES = 64

_LAST = ["DISALLOW", "*"]
_TIME = "%Y-%m-%dT%H:%M:%SZ"

_Text = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
_Rule = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=512)]], Field(max_length=8)]
_Rules = Annotated[list[_Rule], Field(min_length=1, max_length=MAX_RULES)]


class Functionary(Part):
    """Who may do a step: a certificate's identity, compared exactly, and the issuer that vouched for it."""

    identity: _Text
    issuer: _Text


class PipelineStep(Part):
    """One step. `threshold` of its functionaries must have signed links that say the same."""

    name: Word
    functionaries: Annotated[list[Functionary], Field(min_length=1, max_length=64)]
    threshold: Annotated[int, Field(ge=1, le=64)] = 1
    #: Compared exactly when it is there; in-toto itself would only warn.
    expected_command: Annotated[list[_Text], Field(min_length=1, max_length=64)] | None = None
    expected_materials: _Rules
    expected_products: _Rules

    @model_validator(mode="after")
    def _closed(self) -> PipelineStep:
        if len(set(self.functionaries)) != len(self.functionaries):
            raise ValueError(f"step {self.name}: one functionary stands twice")
        if self.threshold > len({person(one.identity) for one in self.functionaries}):
            raise ValueError(f"step {self.name}: a threshold of {self.threshold}, but fewer functionaries")
        for kind, rules in (("materials", self.expected_materials), ("products", self.expected_products)):
            if rules[-1] != _LAST:
                raise ValueError(f'step {self.name}: end expected_{kind} with [DISALLOW, "*"]: the rest would pass')
        return self


class Layout(Part):
    """The steps of a pipeline in their order; the last one makes, or signs, the bundle."""

    layout: Word
    readme: Annotated[str, StringConstraints(max_length=4096)] = ""
    #: Links that were signed later do not count. RFC 3339, UTC, whole seconds.
    expires: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$")]
    steps: Annotated[list[PipelineStep], Field(min_length=1, max_length=MAX_STEPS)]

    @model_validator(mode="before")
    @classmethod
    def _without_inspections(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            if "inspect" in value or "inspections" in value:
                raise ValueError("inspections are commands that a verifier would run; there are none here")
            if isinstance(value.get("expires"), datetime):
                raise ValueError('expires: write the time in quotes, such as "2027-12-31T00:00:00Z"')
        return value

    @field_validator("expires")
    @classmethod
    def _a_time(cls, value: str) -> str:
        datetime.strptime(value, _TIME)  # raises for a day that is none
        return value

    @model_validator(mode="after")
    def _applicable(self) -> Layout:
        check_layout([(one.name, [*one.expected_materials, *one.expected_products]) for one in self.steps])
        return self

    @property
    def valid_until(self) -> datetime:
        """When it expires, UTC."""
        return datetime.strptime(self.expires, _TIME).replace(tzinfo=UTC)

    @property
    def names(self) -> frozenset[str]:
        """The names of its steps."""
        return frozenset(one.name for one in self.steps)

    def canonical(self) -> bytes:
        """The layout as RFC 8785 bytes; its digest is theirs."""
        return strict_json.canonical(self.model_dump(mode="json", exclude_none=True))

    @property
    def digest(self) -> str:
        """What a signature of the layout is about, `sha256:…`."""
        return digest_of(self.canonical())

    def statement(self) -> bytes:
        """What is signed: an in-toto statement about the layout's bytes that holds the layout."""
        subject = statements.resource(self.layout, self.digest)
        return statements.statement([subject], statements.LAYOUT, strict_json.load_object(self.canonical()))


def load(path: Path) -> Layout:
    """Read a layout from a YAML (or JSON) file. Raises `UsageError` with what is wrong, and where."""
    raw = read_bounded(path, MAX_LAYOUT, "the layout")
    try:
        return Layout.model_validate(strict_yaml.load(raw))
    except strict_yaml.StrictYAMLError as error:
        raise UsageError(f"{path} is {error}") from error
    except ValidationError as error:
        raise UsageError(f"{path}: {complaint(error)}") from error


def template(name: str, functionary: Functionary, bundle: str, expires: datetime) -> str:
    """A layout to start from: the steps that `placet bundle build` and `placet bundle sign` leave links of."""
    who = [functionary.model_dump()]
    document = {
        "layout": name,
        "readme": "Who may do which step on the way to a release. placet layout sign makes it binding.",
        "expires": expires.astimezone(UTC).strftime(_TIME),
        "steps": [
            _step("build", who, [["ALLOW", "*.rego"], ["ALLOW", "*data.json"], ["ALLOW", ".manifest"]],
                  [["CREATE", bundle]]),
            _step("sign", who, [["MATCH", bundle, "WITH", "PRODUCTS", "FROM", "build"]],
                  [["ALLOW", bundle], ["CREATE", f"{bundle}.sigstore.json"]]),
        ],
    }  # fmt: skip
    Layout.model_validate(document)
    return strict_yaml.dump(document)


def _step(
    name: str, who: Sequence[Mapping[str, str]], materials: Sequence[list[str]], products: Sequence[list[str]]
) -> dict[str, Any]:
    return {
        "name": name,
        "functionaries": [dict(one) for one in who],
        "threshold": 1,
        "expected_materials": [*materials, list(_LAST)],
        "expected_products": [*products, list(_LAST)],
    }
