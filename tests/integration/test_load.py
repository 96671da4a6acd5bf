"""A policy of 10,000 rules, leases renewed every second, releases that change: every answer is whole and right."""

import os
import threading
import time

import pytest

from app.core.reason_codes import Reason
from app.local.demo.load import Load
from app.local.demo.parts import eventually
from app.local.demo.rows.table import nothing_missing, reports
from app.local.demo.run import Demo

pytestmark = [pytest.mark.stack]

SECONDS = float(os.environ.get("PLACET_LOAD_SECONDS", "60"))
RULES = 10_000


@pytest.mark.timeout(SECONDS + 400)
def test_10_000_rules_under_load(tmp_path):
    with Demo(lambda text: None, tmp_path) as world:
        stack = world.stack
        options = ("--lease-ttl", "20", "--renew", "1", "--reserve", "64MiB")
        sidecar = stack.start_sidecar("sidecar-large", *options)
        # Half a second is too short for 10,000 rules on any machine; a second and a half is not on a fast one.
        hasty = stack.start_sidecar("sidecar-hasty", "--lease-ttl", "1", "--renew", "0.25", "--reserve", "64MiB")
        published = publish_large(stack, "large-1")
        eventually("enforced", lambda: sidecar.status().get("release") == published, within=120)
        # What a lease cannot bear is refused, and the small release stays.
        eventually("refused", lambda: reports(hasty, Reason.ACTIVATION_SLOW), within=120)
        assert hasty.status().get("release") not in (None, published)
        stack.stop_sidecar(hasty)
        assert world.allows(world.first)

        began = time.monotonic()
        forbidden = stack.request("refund", amount=10, currency="EUR")
        with (
            Load(sidecar.port, sidecar.ca, stack.request("read"), callers=2) as allowed,
            Load(sidecar.port, sidecar.ca, forbidden, callers=2) as denied,
        ):
            change = threading.Thread(target=publish_large, args=(stack, "large-2"))
            change.start()
            time.sleep(max(0.0, SECONDS - (time.monotonic() - began)))
            change.join(timeout=120)
            eventually("the second is enforced", lambda: sidecar.status().get("release") != published, within=120)
            time.sleep(3)
        assert set(allowed.outcomes()) == {"allow"}, allowed.outcomes()
        assert set(denied.outcomes()) == {"policy.denied"}, denied.outcomes()
        assert len(allowed.answers) > 20 * SECONDS
        assert nothing_missing(world, allowed)


def publish_large(stack, name):
    """Publish the example policy with many more rules; returns the release's digest."""
    directory = stack.write_policy(name)
    rules = "".join(
        f'matched contains "{name}-{number}" if {{\n'
        f'\tinput.resource.id == "p-{number}"\n'
        f'\tinput.action.name == "audit-{number % 7}"\n'
        "}\n\n"
        for number in range(RULES)
    )
    (directory / "payments" / "audits.rego").write_text(f"package payments.audits\n\n{rules}")
    bundle = stack.directory / f"{name}.tar.gz"
    stack.placet("bundle", "build", str(directory), "-o", str(bundle), "--opa", str(stack.opa))
    return stack.publish(stack.sign(bundle))["release"]
