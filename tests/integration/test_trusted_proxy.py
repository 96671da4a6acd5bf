"""Behind a reverse proxy callers are told apart by the address that it forwards; else no header says who calls."""

import httpx
import pytest

from .control_kit import ControlPlane

pytestmark = pytest.mark.stack

#: Far more than an address may ask at once (`app.control.api.enrolment.ADDRESSES`), however slow the machine is.
MANY = 2000


def statuses(plane, forwarded):
    """The status of each attempt to join; each says that it is forwarded for that address."""
    body = {"join_token": "x", "system": "payments", "sidecar": "one"}
    with httpx.Client(base_url=plane.url, timeout=30) as http:
        for one in forwarded:
            yield http.post("/api/v1/join", json=body, headers={"X-Forwarded-For": one}).status_code


def test_callers_behind_a_trusted_proxy_have_rates_of_their_own(tmp_path, sigstore, opa_binary):
    plane = ControlPlane(tmp_path / "control", sigstore, opa_binary, "--trusted-proxy", "127.0.0.1")
    try:
        assert 429 in statuses(plane, ["192.0.2.1"] * MANY)
        assert list(statuses(plane, ["192.0.2.2", "192.0.2.3"])) == [403, 403]
        # What a caller wrote there itself stands before what the proxy appended.
        form = {"token": plane.token_file.read_text().strip()}
        assert "secure" in httpx.post(f"{plane.url}/login", data=form).headers["set-cookie"].lower().split("; ")
        assert 429 in statuses(plane, (f"198.51.100.{number % 250}, 192.0.2.4" for number in range(MANY)))
    finally:
        plane.stop()


def test_without_one_no_header_gives_a_caller_another_address(tmp_path, sigstore, opa_binary):
    plane = ControlPlane(tmp_path / "control", sigstore, opa_binary)
    try:
        assert 429 in statuses(plane, (f"192.0.2.{number % 250}" for number in range(MANY)))
    finally:
        plane.stop()
