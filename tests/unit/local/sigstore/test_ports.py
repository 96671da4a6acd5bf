import dataclasses
import socket

import pytest

from app.core.errors import PlacetError, UsageError
from app.local.sigstore.ports import Ports


def test_free_ports_differ():
    values = dataclasses.astuple(Ports.free())
    assert len(set(values)) == len(values)


def test_are_kept(tmp_path):
    assert Ports.kept_in(tmp_path) is None
    ports = Ports.free()
    ports.keep_in(tmp_path)
    assert Ports.kept_in(tmp_path) == ports


@pytest.mark.parametrize("text", ["", "[]", '{"issuer": 1}x', '{"port": 1}', '{"issuer": "7560"}', '{"issuer": 0}'])
def test_a_damaged_file_is_one_clear_error(tmp_path, text):
    (tmp_path / "ports.json").write_text(text)
    with pytest.raises(PlacetError, match=r"ports\.json is damaged .*; remove it"):
        Ports.kept_in(tmp_path)


def test_one_port_for_two_services_is_refused():
    with pytest.raises(UsageError, match="7561"):
        Ports(issuer=7561)


def test_a_port_in_use_is_named_with_its_option():
    ports = Ports.free()
    message = rf"port {ports.ct_log} .*--ct-log-port"
    with socket.create_server(("127.0.0.1", ports.ct_log)), pytest.raises(PlacetError, match=message):
        ports.check_free()
    ports.check_free()
