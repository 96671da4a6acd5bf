import threading

import httpx
import pytest

from app.sidecar.http_clients import Clients


@pytest.fixture
def made():
    return []


@pytest.fixture
def clients(made):
    def make():
        made.append(httpx.Client())
        return made[-1]

    return Clients(make)


def test_one_after_the_other_is_one_client(clients, made):
    for _ in range(3):
        with clients.borrow():
            pass
    assert len(made) == 1


def test_at_once_each_has_its_own(clients, made):
    together = threading.Barrier(4)
    seen = []

    def use():
        with clients.borrow() as client:
            seen.append(client)
            together.wait(5)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == len(set(map(id, seen))) == 4


def test_a_failure_gives_it_back(clients, made):
    for _ in range(2):
        with pytest.raises(ValueError), clients.borrow():
            raise ValueError
    assert len(made) == 1


def test_closing_closes_also_what_is_in_use(clients, made):
    with clients.borrow():
        pass
    with clients.borrow() as client:
        clients.close()
        assert not client.is_closed
    assert all(client.is_closed for client in made)
