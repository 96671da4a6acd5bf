"""Ports are handed out once, whoever asks."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.local import ports


@pytest.fixture(autouse=True)
def own_counter(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACET_CACHE_DIR", str(tmp_path))
    return tmp_path / "ports.last"


def test_many_askers_get_different_ones_that_no_connection_takes():
    with ThreadPoolExecutor(8) as askers:
        found = [port for ports_of_one in askers.map(ports.free_ports, [5] * 40) for port in ports_of_one]
    assert len(set(found)) == 200
    assert all(10_240 <= port <= 32_767 for port in found)


def test_one_in_use_is_passed_over(own_counter):
    port = ports.free_port()
    own_counter.write_text(str(port - 1))
    with socket.create_server((ports.LOOPBACK, port)):
        assert ports.free_port() != port
    own_counter.write_text(str(port - 1))
    assert ports.free_port() == port


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "99999", "٣٢"])
def test_a_damaged_counter_is_begun_anew(own_counter: Path, text):
    own_counter.write_text(text)
    assert 10_240 <= ports.free_port() <= 32_767


def test_it_begins_again_at_the_end(own_counter):
    own_counter.write_text("32767")
    assert ports.free_port() < 11_000
