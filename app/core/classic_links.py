"""An execution as classic in-toto metadata: a signed layout and signed link files, for `in-toto-verify`.

It is derived evidence: the exporter signs what the sidecar's own statements say, and every link names the one that it
was made of. The statements themselves stay what counts.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app.core import graph, workflow
from app.core.complaint import complaint
from app.core.errors import Denied, UsageError
from app.core.governance import Workflow
from app.core.link_form import MAX_STEPS, Descriptor
from app.core.link_names import ARTIFACT, START, STEP
from app.core.reason_codes import Reason
from app.core.targets import Digest

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

#: Names of the export's own; what callers named keeps its name.
OWN = "placet/"
LAYOUT = "root.layout"
#: The layout says what was, and that does not expire.
_EXPIRES = "9999-12-31T23:59:59Z"
_DERIVED = "Derived by an exporter from the statement that `statement` names; the statement is the evidence."

_Text = Annotated[str, StringConstraints(max_length=200)]


def _of_this_form(format: str) -> str:
    if format != graph.FORMAT:
        raise ValueError(f"not {graph.FORMAT}")
    return format


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Link(_Part):
    digest: Digest
    number: _Text
    kind: Literal["execution/start", "execution/step", "execution/end"]
    at: _Text
    signed_at: _Text
    log_index: _Text
    command: list[str]
    subject: Annotated[list[Descriptor], Field(min_length=1)]
    materials: list[Descriptor]
    byproducts: dict[str, Any]


class _Execution(_Part):
    id: _Text
    system: _Text
    sidecar: _Text
    workflow: str | None


class _Lineage(_Part):
    format: Annotated[str, AfterValidator(_of_this_form)]
    execution: _Execution
    links: Annotated[list[_Link], Field(min_length=1, max_length=MAX_STEPS + 100)]


@dataclass(frozen=True)
class ClassicLink:
    """One link, as in-toto's `Link` takes it; and the rules that the layout has for it."""

    name: str
    command: list[str]
    materials: dict[str, dict[str, str]]
    products: dict[str, dict[str, str]]
    byproducts: dict[str, Any]
    material_rules: list[list[str]]
    product_rules: list[list[str]]


@dataclass(frozen=True)
class Classic:
    """An execution's links in order, and what the layout says to people."""

    execution: str
    links: tuple[ClassicLink, ...]
    readme: str

    @classmethod
    def of(cls, document: Mapping[str, Any], declared: Mapping[str, Workflow] | None = None) -> Classic:
        """What `placet lineage show --output json` printed. `declared`: the workflows, to demand what they demand.

        Raises `UsageError` for another document, `Denied` where the lineage is not whole or left its workflow.
        """
        try:
            lineage = _Lineage.model_validate(document)
        except ValidationError as error:
            raise UsageError(f"not what `placet lineage show --output json` prints: {complaint(error)}") from error
        _require_whole(lineage)
        rules = _declared_rules(lineage, declared) if declared is not None else None
        links: list[ClassicLink] = []
        for link in lineage.links:
            links.append(_classic(link, lineage.links, links, rules))
        said = "declares" if rules else "was seen to do"
        readme = f"Execution {lineage.execution.id} of {lineage.execution.system} at {lineage.execution.sidecar}: "
        readme += f"what it {said}. {_DERIVED}"
        return cls(lineage.execution.id, tuple(links), readme)

    def signed(self, signer: CryptoSigner) -> dict[str, bytes]:
        """The files, by name: the layout and a link for each step, signed."""
        from in_toto.models.layout import Layout
        from in_toto.models.layout import Step as LayoutStep
        from in_toto.models.link import FILENAME_FORMAT, Link
        from in_toto.models.metadata import Metablock

        key = signer.public_key
        keys = {key.keyid: {"keyid": key.keyid, **key.to_dict()}}
        steps = [
            LayoutStep(
                name=one.name,
                expected_materials=one.material_rules,
                expected_products=one.product_rules,
                pubkeys=[key.keyid],
                expected_command=one.command,
                threshold=1,
            )
            for one in self.links
        ]
        layout = Layout(steps=steps, inspect=[], keys=keys, expires=_EXPIRES, readme=self.readme)
        named = {LAYOUT: layout}
        for one in self.links:
            link = Link(
                name=one.name,
                command=one.command,
                materials=one.materials,
                products=one.products,
                byproducts=one.byproducts,
                environment={},
            )
            named[FILENAME_FORMAT.format(step_name=one.name, keyid=key.keyid)] = link
        files = {}
        for name, payload in named.items():
            block = Metablock(signed=payload, compact_json=False)
            block.create_signature(signer)
            files[name] = f"{block!r}\n".encode()
        return files


def _require_whole(lineage: _Lineage) -> None:
    """From the start on, each link names the one before it."""
    before: str | None = None
    for link in lineage.links:
        named = [one.ref().digest for one in link.materials if one.name in _BEFORE]
        if named != ([before] if before else []) or (before is None and link.kind != START):
            raise Denied(Reason.LINK_GAP, f"statement {link.number} does not follow the one before it", step="link")
        before = link.digest


_BEFORE = {f"link/{START}", f"link/{STEP}"}


def _declared_rules(lineage: _Lineage, declared: Mapping[str, Workflow]) -> dict[str, tuple[Any, Any]]:
    """Each step's rules by its name. Raises `Denied` unless the execution went all the way through its workflow."""
    name = lineage.execution.workflow
    if name is None or name not in declared:
        said = f"declares no workflow {name}" if name else "is not needed: the execution followed no workflow"
        raise UsageError(f"the governance {said}")
    done: list[workflow.Done] = []
    for link in lineage.links:
        if link.kind == STEP:
            used, made = ([one.ref() for one in found] for found in (link.materials, link.subject))
            now = workflow.Done.of(_step_name(link), used, made)
            workflow.require_step(declared[name], done, now)
            done.append(now)
    workflow.require_done(declared[name], done)
    return {step.name: (step.expected_materials, step.expected_products) for step in declared[name].layout.steps}


def _classic(
    link: _Link,
    links: Sequence[_Link],
    earlier: Sequence[ClassicLink],
    rules: Mapping[str, tuple[Any, Any]] | None,
) -> ClassicLink:
    at = len(earlier)
    materials = _artifacts(link.materials, {one.digest: place for place, one in enumerate(links[:at])})
    products = _artifacts(link.subject[1:], {}) | {_statement(at): _hash(link.digest)}
    names = {one.name.split("-", 1)[1]: one.name for one in earlier}
    own, others = _looking_back(materials, earlier)
    if rules is not None and link.kind == STEP:
        given = rules[_step_name(link)]
        names[_step_name(link)] = _name(link, at)
        material_rules, product_rules = ([_renamed(rule, names) for rule in one] for one in given)
        made = [["ALLOW", _statement(at)]]
    else:
        material_rules, product_rules = [*others, _NOTHING_ELSE], [_NOTHING_ELSE]
        made = [["ALLOW", glob.escape(name)] for name in products]
    return ClassicLink(
        _name(link, at),
        link.command,
        materials,
        products,
        {
            "derived": _DERIVED,
            "statement": link.digest,
            "number": link.number,
            "kind": link.kind,
            "at": link.at,
            "signed_at": link.signed_at,
            "log_index": link.log_index,
            "said": link.byproducts,
        },
        [*own, *material_rules],
        [*made, *product_rules],
    )


_NOTHING_ELSE = ["DISALLOW", "*"]


def _looking_back(
    materials: Mapping[str, dict[str, str]], earlier: Sequence[ClassicLink]
) -> tuple[list[list[str]], list[list[str]]]:
    """Rules for the export's own names, and for the callers': what an earlier step made matches it."""
    own: list[list[str]] = []
    others: list[list[str]] = []
    for name, digest in materials.items():
        maker = next((one.name for one in reversed(earlier) if one.products.get(name) == digest), None)
        matching = ["MATCH", glob.escape(name), "WITH", "PRODUCTS", "FROM", maker] if maker else None
        (own if name.startswith(OWN) else others).append(matching or ["ALLOW", glob.escape(name)])
    return own, others


def _renamed(rule: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """A declared rule, with the names that steps have here."""
    if rule[0].upper() != "MATCH":
        return list(rule)
    return [*rule[:-1], names[rule[-1]]]


def _artifacts(found: Sequence[Descriptor], statements: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """By name. `statements`: the places of the execution's statements, by their digests."""
    named: dict[str, dict[str, str]] = {}
    for one in found:
        digest = one.ref().digest
        name = one.name.removeprefix(ARTIFACT)
        if one.name in _BEFORE and digest in statements:
            name = _statement(statements[digest])
        elif one.name == name or name.startswith(OWN):
            name = OWN + one.name  # the journal's own; or a caller's that would pass for one
        if name in named:
            name = f"{name}/{one.digest.sha256[:16]}"  # several of one name, such as parents
        named[name] = {"sha256": one.digest.sha256}
    return named


def _name(link: _Link, at: int) -> str:
    return f"{at:04}-{_step_name(link) if link.kind == STEP else link.kind.replace('/', '-')}"


def _step_name(link: _Link) -> str:
    name = link.byproducts.get("step")
    if not isinstance(name, str):
        raise UsageError(f"statement {link.number} is a step without a name")
    return name


def _statement(at: int) -> str:
    return f"{OWN}statement/{at:04}"


def _hash(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}
