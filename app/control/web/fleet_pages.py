"""Systems, their releases and channels, the sidecars, and the quarantine list."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.control import (
    allowances,
    attestation_results,
    channels,
    enrolment,
    governance,
    impact,
    lineage,
    modes,
    quarantine,
    releases,
    sidecars,
    systems,
)
from app.control.api.access import PlaneOf, by
from app.control.publication import object_key, release_file
from app.control.store import Evidence, Release
from app.control.store.columns import now
from app.control.tokens import Access, Scope
from app.control.web.rendering import render
from app.core import strict_yaml
from app.core.statements import LINK
from app.core.targets import ATTESTATIONS_FILE, BUNDLE_FILE, SIGNATURE_FILE

router = APIRouter()

Reader = Annotated[Access, by(Scope.SYSTEM_READ)]
#: The steps that leave a link with every release.
_STEPS = ("build", "sign", "publish")

BoundReader = Annotated[Access, by(Scope.SYSTEM_READ, everywhere=True)]


@router.get("/systems")
def system_list(request: Request, plane: PlaneOf, access: BoundReader) -> Response:
    """Every system with its channels and sidecars."""
    with plane.store.read() as session:
        evicted = enrolment.evicted(session, access.system)
        rows = [
            {
                "system": system,
                "channels": channels.listed(session, system.name),
                "modes": modes.in_force(session, system.name),
                "sidecars": [
                    sidecars.condition(one, evicted.get((one.system, one.name)))
                    for one in sidecars.listed(session, system.name)
                ],
            }
            for system in systems.listed(session, access.system)
        ]
    return render(request, "systems.html", {"title": "Systems", "rows": rows})


@router.get("/systems/{system}")
def system_page(request: Request, plane: PlaneOf, system: str, access: Reader) -> Response:
    """One system: who may sign, where its channels point, its modes and governance, and its releases."""
    with plane.store.read() as session:
        # As at the API, who may let workloads in sees which ones may.
        allowed = allowances.listed(session, system) if access.may(Scope.TOKEN_WRITE) else []
        found, in_force = systems.find(session, system), governance.current(session, system)
        document = governance.of(session, system)
        page = {
            "title": f"System {system}",
            "system": found,
            "modes": [(mode, modes.condition(mode)) for mode in modes.listed(session, system)],
            "allowances": [(one, allowances.status(one)) for one in allowed],
            "governance": document,
            "governance_version": in_force.version if in_force else 0,
            "governance_text": strict_yaml.dump(document.model_dump(mode="json")),
            "results": attestation_results.listed(session, system),
            "channels": channels.listed(session, system),
            "releases": releases.listed(session, system),
        }
    return render(request, "system.html", page)


@router.get("/systems/{system}/releases/{digest}")
def release_page(request: Request, plane: PlaneOf, system: str, digest: str, _: Reader) -> Response:
    """One release: who signed it, and the steps that led to it."""
    with plane.store.read() as session:
        release, carried = releases.find(session, system, digest)
        evidence = releases.evidence_of(session, digest)
        pointers = [pointer for pointer in channels.listed(session, system) if pointer.release == digest]
        report = impact.latest(session, system, digest)
    page = {
        "title": "Release",
        "system": system,
        "release": release,
        "carried": carried,
        "pointers": pointers,
        "impact": report,
        "evidence": evidence,
        "links": sorted((_link(one) for one in evidence if one.predicate_type == LINK), key=_order),
        "files": _files(release),
        "provenance": json.dumps(release.provenance, indent=2, ensure_ascii=False),
    }
    return render(request, "release.html", page)


@router.get("/sidecars")
def sidecar_list(request: Request, plane: PlaneOf, access: BoundReader) -> Response:
    """What every sidecar last said, and how long ago; then those that were evicted and never said anything."""
    with plane.store.read() as session:
        evicted = enrolment.evicted(session, access.system)
        breaks = lineage.listed(session, access.system)
        rows = []
        for one in sidecars.listed(session, access.system):
            row = evicted.pop((one.system, one.name), None)
            condition = sidecars.condition(one, row)
            rows.append({"sidecar": one, "condition": condition, "age": sidecars.age(one), "evicted": row})
    page = {"title": "Sidecars", "rows": rows, "unheard": list(evicted.values()), "breaks": breaks, "now": now()}
    return render(request, "sidecars.html", page)


@router.get("/quarantine")
def quarantine_list(request: Request, plane: PlaneOf, _: Reader) -> Response:
    """Who is denied everything, and who no longer is."""
    with plane.store.read() as session:
        page = {
            "title": "Quarantine",
            "active": quarantine.listed(session),
            "lifted": quarantine.lifted(session),
        }
    return render(request, "quarantine.html", page)


def _link(evidence: Evidence) -> dict[str, Any]:
    """An in-toto link as a row: the step, its materials and its products, which are the statement's subjects."""
    predicate = evidence.statement.get("predicate", {})
    command = predicate.get("command", [])
    return {
        "name": str(predicate.get("name", "")),
        "command": " ".join(map(str, command)) if isinstance(command, list) else str(command),
        "materials": _resources(predicate.get("materials")),
        "products": _resources(evidence.statement.get("subject")),
        "signer": evidence.signer_identity,
        "issuer": evidence.signer_issuer,
        "signed_at": evidence.signed_at,
    }


def _order(link: Mapping[str, Any]) -> tuple[Any, ...]:
    """By the time of signature; steps of the same second in the order in which a release passes them."""
    name = link["name"]
    return link["signed_at"], _STEPS.index(name) if name in _STEPS else len(_STEPS), name


def _resources(listed: Any) -> list[dict[str, str]]:
    found = []
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, Mapping):
            digest = one.get("digest")
            sha256 = digest.get("sha256", "") if isinstance(digest, Mapping) else ""
            found.append({"name": str(one.get("name") or one.get("uri") or ""), "sha256": str(sha256)})
    return found


def _files(release: Release) -> list[dict[str, Any]]:
    """The files of the release as anyone may download and verify them."""
    digest = release.digest
    described = (
        (BUNDLE_FILE, digest.removeprefix("sha256:"), release.bundle_length),
        (SIGNATURE_FILE, release.signature_sha256, release.signature_length),
        (ATTESTATIONS_FILE, release.attestations_sha256, release.attestations_length),
    )
    return [
        {
            "name": name,
            "sha256": sha256,
            "length": length,
            "address": "/tuf/" + object_key(release_file(digest, name, sha256, length)),
        }
        for name, sha256, length in described
    ]
