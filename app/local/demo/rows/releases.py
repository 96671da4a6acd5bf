"""Releases: what may be published, and what a sidecar takes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from app.core import strict_yaml
from app.core.reason_codes import Reason
from app.local.demo.parts import Sidecar, eventually
from app.local.demo.rows.table import World, reports, require, row
from app.local.demo.stack import AUTHOR, SYSTEM, Stack

#: Who tests releases of the system with a layout.
TESTER = "tester@example.org"


@row("signed bundle accepted")
def signed_accepted(world: World) -> str:
    """The release that the stack started with is in force on both sidecars."""
    for sidecar in (world.first, world.second):
        require(sidecar.status().get("release") == world.release, f"{sidecar.name} runs something else")
    names = {world.first.name, world.second.name}
    eventually("the control plane knows both", lambda: names <= _healthy(world), within=30)
    return f"{world.release[:19]}… on 2 sidecars"


@row("unsigned bundle refused")
def unsigned_refused(world: World) -> str:
    """A bundle without a signature is not published."""
    bundle = world.stack.build("unsigned", {"review_from": 101})
    return _refused(world.stack.publish(bundle, expect=3), Reason.EVIDENCE_MISSING)


@row("bundle changed after signing refused at publish")
def changed_refused(world: World) -> str:
    """One number of the signed policy's data is changed, and the bundle packed again."""
    stack = world.stack
    honest = stack.sign(stack.build("changed", {"review_from": 102}))
    forged = stack.build("forged", {"review_from": 1_000_000})
    honest.write_bytes(forged.read_bytes())
    return _refused(stack.publish(honest, expect=3), Reason.EVIDENCE_SUBJECT)


@row("bundle changed in the control plane's hands refused by the sidecar")
def changed_later_refused(world: World) -> str:
    """The second sidecar is given other bytes than were published; the first is not, and takes the release."""
    stack = world.stack
    world.meddler.mode = "change"
    try:
        published = stack.publish(stack.sign(stack.build("v2", {"review_from": 200})))
        eventually("the first sidecar takes it", lambda: world.first.status().get("release") == published["release"])
        codes = eventually("the second refuses", lambda: reports(world.second, Reason.METADATA_INVALID))
        require(world.second.status()["release"] == world.release, "the second sidecar left the last good release")
        require(world.allows(world.second), "the last good release is not enforced")
        return f"{codes}; the last good one stays"
    finally:
        world.meddler.mode = "pass"
        stack.point(world.release)
        for sidecar in (world.first, world.second):
            eventually("back on the first release", partial(_runs, sidecar, world.release))


@row("bundle signed by the wrong identity refused")
def wrong_identity_refused(world: World) -> str:
    """The signature is good, but the signer is nobody who may sign."""
    bundle = world.stack.sign(world.stack.build("stranger", {"review_from": 103}), signer="stranger@example.org")
    return _refused(world.stack.publish(bundle, expect=3), Reason.EVIDENCE_IDENTITY)


@row("release outside its layout refused")
def outside_layout_refused(world: World) -> str:
    """A system demands that somebody else has tested a release: it is not taken before the tester signed that."""
    stack = world.stack
    stack.placet("system", "create", "tested", "--policy", str(_demands_a_tester(stack)))
    bundle = stack.sign(stack.build("untested", {"review_from": 104}))
    code = _refused(stack.publish(bundle, system="tested", expect=3), Reason.EVIDENCE_LAYOUT)
    trusted = ("--trust-config", str(stack.sigstore.trust_config))
    what = ("step", "run", "test", "--materials", "policies/untested", "--products", "untested.tar.gz", *trusted)
    stack.placet(*what, "--", "true", environment=stack.identity(TESTER), cwd=stack.directory)
    link = str(stack.directory / "test.link.sigstore.json")
    stack.placet("bundle", "sign", str(bundle), "--link", link, *trusted, environment=stack.identity(AUTHOR))
    stack.publish(bundle, system="tested")
    return f"{code}; taken with the tester's link"


def _demands_a_tester(stack: Stack) -> Path:
    """The file of a verification policy with a layout: the tester tests, the author signs what was tested."""
    issuer = stack.sigstore.issuer_url
    rest = ["DISALLOW", "*"]
    tested = {
        "name": "test",
        "functionaries": [{"identity": TESTER, "issuer": issuer}],
        "expected_materials": [["ALLOW", "policies/*"], rest],
        "expected_products": [["ALLOW", "*.tar.gz"], rest],
    }
    signed = {
        "name": "sign",
        "functionaries": [{"identity": AUTHOR, "issuer": issuer}],
        "expected_materials": [["MATCH", "*.tar.gz", "WITH", "PRODUCTS", "FROM", "test"], rest],
        "expected_products": [["ALLOW", "*.tar.gz*"], rest],
    }
    layout = {"layout": "tested", "expires": "2099-01-01T00:00:00Z", "steps": [tested, signed]}
    file = stack.directory / "tested.yaml"
    policy = {"identities": [{"identity": AUTHOR, "issuer": issuer}], "layout": layout}
    file.write_text(strict_yaml.dump(policy))
    return file


@row("older state replayed to the sidecar refused")
def replay_refused(world: World) -> str:
    """The second sidecar is given the signed metadata of some time ago, release and all."""
    before = world.second.status()["sequence"]
    world.meddler.mode = "replay"
    try:
        codes = eventually("refused", lambda: reports(world.second, Reason.METADATA_INVALID))
        require(world.second.status()["sequence"] == before, "the sidecar followed the old pointer")
        require(world.allows(world.second), "the newest release is not enforced any more")
        return f"{codes}; sequence {before} stays"
    finally:
        world.meddler.mode = "pass"
        eventually("fresh again", lambda: not world.second.codes())


def _refused(answer: dict[str, Any], reason: Reason) -> str:
    require(str(reason) in answer["stderr"], f"refused, but not with {reason}: {answer['stderr']}")
    return str(reason)


def _runs(sidecar: Sidecar, release: str) -> bool:
    return bool(sidecar.status().get("release") == release)


def _healthy(world: World) -> set[str]:
    """The sidecars that the control plane lists as healthy, with the release that should be in force."""
    known = world.stack.api(f"/systems/{SYSTEM}/sidecars")["items"]
    return {one["sidecar"] for one in known if one["condition"] == "healthy" and one["release"] == world.release}
