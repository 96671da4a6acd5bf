"""Ingests take turns: few at once, and one system never has all of the turns."""

import threading

import anyio
import pytest

from app.control.api.ingests import Ingests


class Doors:
    """Work that goes on until it is let out, and who is inside."""

    def __init__(self):
        self.inside, self.most = [], {}
        self.lock, self.open = threading.Lock(), threading.Event()

    def work(self, system):
        def go():
            with self.lock:
                self.inside.append(system)
                for name in {system, "all"}:
                    now = len(self.inside) if name == "all" else self.inside.count(name)
                    self.most[name] = max(self.most.get(name, 0), now)
            assert self.open.wait(20)
            with self.lock:
                self.inside.remove(system)
            return system

        return go


def test_a_busy_system_leaves_room_for_another():
    doors, ingests, answers = Doors(), Ingests(3, 2), []

    async def one(system):
        answers.append(await ingests.run(system, doors.work(system)))

    async def main():
        async with anyio.create_task_group() as group:
            for _ in range(9):
                group.start_soon(one, "busy")
            while doors.inside.count("busy") < 2:
                await anyio.sleep(0.01)
            group.start_soon(one, "calm")
            with anyio.fail_after(10):
                while "calm" not in doors.inside:
                    await anyio.sleep(0.01)
            await anyio.sleep(0.1)
            doors.open.set()

    anyio.run(main)
    assert sorted(answers) == ["busy"] * 9 + ["calm"]
    assert (doors.most["busy"], doors.most["calm"]) == (2, 1)
    assert doors.most["all"] <= 3
    assert ingests._systems == {}, "nothing is kept of systems that are idle"


def test_what_fails_gives_its_turn_back():
    ingests = Ingests(1, 1)

    def fail():
        raise ValueError("no")

    async def main():
        for _ in range(3):
            with pytest.raises(ValueError, match="no"):
                await ingests.run("one", fail)
        return await ingests.run("one", lambda: 5)

    assert anyio.run(main) == 5
    assert ingests._systems == {}
