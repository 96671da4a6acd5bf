"""Changes of bytes and of JSON, by chance: what the mutations of releases are made of."""

from __future__ import annotations

import json
import random
from typing import Any

from .release_kit import at, places, replaced, without

ODD = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**63,
    2**64,
    1.5,
    1e300,
    "",
    "0",
    "A",
    "AAAA",
    "\0",
    "\u202e",
    [],
    {},
    [[]],
    {"": 0},
]


def scrambled(raw: bytes, chance: random.Random) -> bytes:
    """A few bytes flipped, dropped, added or moved, or an end cut off."""
    changed = bytearray(raw)
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        where = chance.randrange(len(changed) + 1)
        how = chance.randrange(6)
        if how == 0 and where < len(changed):
            changed[where] ^= 1 << chance.randrange(8)
        elif how == 1 and where < len(changed):
            changed[where] = chance.randrange(256)
        elif how == 2:
            del changed[where : where + chance.choice([1, 1, 2, 16])]
        elif how == 3:
            changed[where:where] = chance.randbytes(chance.choice([1, 1, 4, 64]))
        elif how == 4:
            changed[where:where] = changed[where : where + chance.choice([1, 32, 512])]
        elif chance.random() < 0.2:
            del changed[where:]
    return bytes(changed)


def raw_json(document: Any, _: Any, chance: random.Random) -> bytes:
    return scrambled(json.dumps(document).encode(), chance)


def member(document: Any, _: Any, chance: random.Random) -> Any:
    path = chance.choice(places(document)[1:])
    return without(document, path) if chance.random() < 0.3 else replaced(document, path, chance.choice(ODD))


def twice(document: Any, _: Any, chance: random.Random) -> bytes:
    path = chance.choice([one for one in places(document)[1:] if isinstance(one[-1], str)])
    member = f'"{path[-1]}": {json.dumps(at(document, path))}'
    name = chance.choice([path[-1], path[-1].upper(), path[-1].capitalize(), f"{path[-1]}\\u0000", "extra"])
    more = f'"{name}": {json.dumps(chance.choice([*ODD[:6], at(document, path)]))}'
    pair = [member, more] if chance.random() < 0.5 else [more, member]
    return json.dumps(document).replace(member, ", ".join(pair), 1).encode()


def wrapped(document: Any, _: Any, chance: random.Random) -> Any:
    path = chance.choice(places(document))
    value = at(document, path)
    return replaced(document, path, chance.choice([[value], {"a": value}, [value, value], json.dumps(value)]))


def swapped(document: Any, _: Any, chance: random.Random) -> Any:
    one, two = (chance.choice([path for path in places(document) if isinstance(at(document, path), str)]) for _ in "ab")
    return replaced(replaced(document, one, at(document, two)), two, at(document, one))
