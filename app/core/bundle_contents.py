"""What is in a bundle, and what two bundles differ in, told by rules and values rather than by files."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from app.core import bundle_source, older_rego, preflight, strict_json
from app.core.bundle import MANIFEST, digest_of, modules_of
from app.core.errors import Denied
from app.core.evidence import claimed_signer
from app.core.evidence_form import checked_form
from app.core.opa import Module, Opa
from app.core.reason_codes import Reason
from app.core.rego_parser import Decimals
from app.core.syntax_tree import imported, variables

#: Characters of a value that a difference shows.
_SHOWN = 200


class _Written(str):
    """A number as it stands in the file. OPA compares and prints more digits than a double has."""

    __slots__ = ()


#: A member's name that needs no quotes in a path.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Contents:
    """A bundle taken apart. Nothing of it is verified."""

    digest: str
    size: int
    #: The manifest as it stands; None when there is none that can be read.
    manifest: dict[str, Any] | None
    #: Every value of the manifest by its path, as JSON.
    members: Mapping[str, str]
    modules: tuple[Module, ...]
    #: Every value by its path, such as `app.users[0]`, as JSON.
    values: Mapping[str, str]
    data_files: Mapping[str, int]
    #: What each piece of evidence claims: predicate type, identity, issuer.
    evidence: tuple[dict[str, str], ...]
    #: Why the verifier would refuse it, if it would.
    faults: tuple[dict[str, str | None], ...]

    def as_dict(self) -> dict[str, Any]:
        """The contents as `placet bundle inspect` prints them."""
        return {
            "digest": self.digest,
            "bytes": self.size,
            "manifest": self.manifest,
            "modules": [
                {"file": one.file, "package": one.package.replace("/", "."), "rules": list(dict.fromkeys(_names(one)))}
                for one in self.modules
            ],
            "data": [{"file": path, "bytes": size} for path, size in sorted(self.data_files.items())],
            "builtins": sorted(_builtins(self.modules)),
            "evidence": [{**one, "verified": False} for one in self.evidence],
            "faults": list(self.faults),
        }


def read(
    raw: bytes, signature: bytes, attestations: Sequence[bytes], opa: Opa, allowed: frozenset[str] = frozenset()
) -> Contents:
    """Take a bundle apart, whoever built it. Raises `Denied` when it is no archive or its Rego does not parse.

    `allowed` are builtins that the system allows by name.
    """
    files = bundle_source.unpack(raw)
    today = older_rego.converted(bundle_source.Source("", files), opa)  # as `build` would take it
    modules = opa.inspect(modules_of(today.files))
    manifest, members = None, {}
    values: dict[str, str] = {}
    data_files: dict[str, int] = {}
    for path, content in files.items():
        name = path.rsplit("/", 1)[-1]
        if name not in (MANIFEST, "data.json"):
            continue
        try:
            document: Any = strict_json.load_object(content)
        except strict_json.StrictJSONError:
            continue  # the faults name it
        written = json.loads(content, parse_int=_Written, parse_float=_Written)
        if name == MANIFEST:
            manifest, members = document, dict(_leaves(written, ""))
        else:
            data_files[path] = len(content)
            values.update(_leaves(written, reduce(_below, path.split("/")[:-1], "")))
    evidence = tuple(_claims(one) for one in [signature, *attestations] if one)
    faults = tuple(one.as_dict() for one in preflight.check(files, opa, strict=False, allowed=allowed))
    return Contents(digest_of(raw), len(raw), manifest, members, tuple(modules), values, data_files, evidence, faults)


def difference(old: Contents, new: Contents) -> dict[str, Any]:
    """What became of the rules, the data, the manifest and the evidence of `old` in `new`. Raises `Denied`."""
    try:
        was, becomes = _rules(old.modules), _rules(new.modules)
    except RecursionError as error:
        raise Denied(Reason.REGO_COMPILE, "a module is nested too deeply to be compared") from error
    signers = [sorted({f"{one['identity']} ({one['issuer']})" for one in side.evidence}) for side in (old, new)]
    kinds = [sorted(one["predicate"] for one in side.evidence) for side in (old, new)]
    return {
        "from": old.digest,
        "to": new.digest,
        "same": old.digest == new.digest,
        "rules": {
            "added": sorted(becomes.keys() - was.keys()),
            "removed": sorted(was.keys() - becomes.keys()),
            "changed": sorted(rule for rule in was.keys() & becomes.keys() if was[rule] != becomes[rule]),
        },
        "data": {
            "added": sorted(new.values.keys() - old.values.keys()),
            "removed": sorted(old.values.keys() - new.values.keys()),
            "changed": [
                {"path": path, "from": _cut(old.values[path]), "to": _cut(new.values[path])}
                for path in sorted(old.values.keys() & new.values.keys())
                if old.values[path] != new.values[path]
            ],
        },
        "manifest": [
            {"member": member, "from": old.members.get(member), "to": new.members.get(member)}
            for member in sorted(old.members.keys() | new.members.keys())
            if old.members.get(member) != new.members.get(member)
        ],
        "signers": _sides(*signers),
        "evidence": _sides(*kinds),
    }


def _sides(old: Sequence[str], new: Sequence[str]) -> dict[str, list[str]]:
    """What only one of two lists holds, as often as it does."""
    gone, come = list(old), []
    for one in new:
        if one in gone:
            gone.remove(one)
        else:
            come.append(one)
    return {"added": come, "removed": gone}


def _rules(modules: Sequence[Module]) -> dict[str, list[str]]:
    """The definitions of each rule by its path. A definition holds what its imports mean, and no lines or comments."""
    found: dict[str, list[str]] = {}
    for module in modules:
        imports = imported(module.syntax)
        for name, rule in zip(_names(module), module.syntax.get("rules", []), strict=True):
            meant = {variable: imports[variable] for variable in sorted(variables(rule)) if variable in imports}
            found.setdefault(name, []).append(_text({"rule": _bare(rule), "imports": meant}))
    return {name: sorted(definitions) for name, definitions in found.items()}


def _text(value: Any) -> str:
    """A value as the one text that equal values share."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _bare(node: Any) -> Any:
    """A syntax tree without places and comments, with numbers as they were written."""
    if isinstance(node, Decimals):
        return {"written": node.text}
    if isinstance(node, list):
        return [_bare(one) for one in node]
    if isinstance(node, Mapping):
        return {name: _bare(below) for name, below in node.items() if name not in ("location", "annotations")}
    return node


def _names(module: Module) -> list[str]:
    return [rule.replace("/", ".") for rule in module.rules]


def _builtins(modules: Sequence[Module]) -> set[str]:
    """What the modules call by a name that no rule of theirs has."""
    defined = {rule.rsplit("/", 1)[-1] for module in modules for rule in module.rules}
    return {name for module in modules for name in preflight.called(module.syntax)} - defined


def _leaves(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _leaves(below, _below(at, name))
    elif isinstance(value, list) and value:
        for number, below in enumerate(value):
            yield from _leaves(below, f"{at}[{number}]")
    else:
        yield at, str(value) if isinstance(value, _Written) else _text(value)


def _below(at: str, name: str) -> str:
    """The path of a member, which no other member has: `a["b.c"]` is not `a.b.c`, and `a["b[0]"]` no item."""
    return f"{at}[{_text(name)}]" if not _PLAIN.fullmatch(name) else f"{at}.{name}" if at else name


def _claims(raw: bytes) -> dict[str, str]:
    try:
        document = checked_form(raw, "evidence")
        signer = claimed_signer(raw, "evidence")
        statement = strict_json.load_object(base64.b64decode(document["dsseEnvelope"]["payload"]))
        predicate = str(statement.get("predicateType", "unknown"))
    except (Denied, strict_json.StrictJSONError) as error:
        return {"predicate": "unreadable", "identity": "unknown", "issuer": "unknown", "fault": str(error)[:_SHOWN]}
    return {"predicate": predicate, "identity": signer.identity, "issuer": signer.issuer}


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
