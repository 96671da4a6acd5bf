"""The control plane's trust domain is pinned with the TUF root: whoever has the control plane cannot take another."""

import dataclasses
import socket

import pytest

from app.control.app import create_app
from app.control.plane import Plane
from app.control.settings import Settings
from app.core.errors import Denied, PlacetError
from app.core.reason_codes import Reason
from app.core.serving import ThreadedServer
from app.core.verification_policy import VerificationPolicy
from app.sidecar.config import SidecarConfig, SidecarFiles
from app.sidecar.metadata import Repository
from tests.unit.control.conftest import DEVELOPER, anonymous, api, app, installed, plane  # noqa: F401 - fixtures


@pytest.fixture
def database():
    return None


@pytest.fixture
def address(plane):  # noqa: F811
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = ThreadedServer(create_app(plane, freshness_interval=3600), listener, "control plane")
    server.start()
    yield address
    server.stop()


def repository(tmp_path, address, root):
    files = SidecarFiles(tmp_path / "sidecar")
    for directory in (files.private, files.metadata, files.targets):
        directory.mkdir(parents=True)
    policy = VerificationPolicy(identities=[])
    config = SidecarConfig(system="payments", channel="prod", name="one", server=address, policy=policy, files=files)
    return Repository(config, root)


@pytest.fixture
def released(api):  # noqa: F811
    api.create_system("payments", [DEVELOPER])
    digest = api.publish().json()["digest"]
    assert api.put("/api/v1/systems/payments/channels/prod", json={"release": digest}).status_code == 200


def test_a_control_plane_that_takes_another_name_is_refused(tmp_path, installed, plane, released, address):  # noqa: F811
    found = repository(tmp_path, address, installed.root_metadata.read_bytes())
    assert found.refresh().state.domain == "placet.internal"
    # Whoever has the online keys publishes as another domain, where a mode or a warrant for a system of the same name
    # was signed.
    taken = dataclasses.replace(plane, settings=plane.settings.model_copy(update={"domain": "other.example"}))
    with taken.publishing():
        pass
    with pytest.raises(Denied, match=r"other\.example") as denied:
        found.refresh()
    assert denied.value.reason is Reason.METADATA_INVALID
    with plane.publishing():
        pass
    assert found.refresh().governance.audience == "spiffe://placet.internal/system/payments"


def test_a_root_that_names_no_domain_is_no_pin(tmp_path, installed):  # noqa: F811
    raw = installed.root_metadata.read_bytes().replace(b"x-placet-domain", b"x-placet-another")
    with pytest.raises(PlacetError, match="names no trust domain"):
        repository(tmp_path, "http://127.0.0.1:1", raw)


def test_a_control_plane_of_another_domain_than_its_root_does_not_start(installed):  # noqa: F811
    settings = Settings.load(installed.directory).model_copy(update={"domain": "other.example"})
    with pytest.raises(PlacetError, match="not of the domain other"):
        Plane.open(settings, lambda *_: None)
