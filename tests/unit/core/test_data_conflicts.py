"""Data where a rule stands: the compiler is content, and no OPA loads it; so build and verifier refuse it."""

import json

import pytest

from app.core import preflight
from app.core.bundle import build_bundle, parse_bundle
from app.core.errors import Denied
from app.core.opa import Opa
from app.core.reason_codes import Reason
from app.core.verification import check_policy

REGO = b'package app.authz\n\nallow if input.x == 1\n\nroles["a"] := 1\n'
MANIFEST = json.dumps({"roots": ["app"], "metadata": {"placet": {"entrypoint": "app/authz/allow"}}}).encode()


def files(path, data):
    return {".manifest": MANIFEST, "app/authz.rego": REGO, path: json.dumps(data).encode()}


@pytest.mark.parametrize(
    ("path", "data", "rule"),
    [
        ("app/authz/data.json", {"allow": True}, "app.authz.allow"),
        ("app/data.json", {"authz": 5}, "app.authz.allow"),
        ("data.json", {"app": {"authz": {"allow": {}}}}, "app.authz.allow"),
        ("app/authz/data.json", {"roles": {"a": 2}}, "app.authz.roles"),
    ],
)
def test_what_no_opa_loads_is_refused_before_and_after_signing(opa_binary, path, data, rule):
    opa = Opa(opa_binary)
    given = files(path, data)
    (fault,) = preflight.check(given, opa)
    assert (fault.reason, fault.field) == (Reason.DATA_MALFORMED, path)
    assert f"{path} defines data.{rule}" in fault.message
    with pytest.raises(Denied) as denied:
        check_policy(parse_bundle(build_bundle(given)), opa)
    assert (denied.value.reason, denied.value.step) == (Reason.DATA_MALFORMED, "rego")


@pytest.mark.parametrize("data", [{"authz": {"limits": 5}}, {"other": {"allow": 1}}, {"authz": {}}])
def test_data_beside_the_rules_stays(opa_binary, data):
    assert preflight.check(files("app/data.json", data), Opa(opa_binary)) == []
