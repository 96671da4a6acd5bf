"""Types that several routes share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from app.core.targets import Digest, Name

__all__ = ["Body", "Digest", "Name", "Text", "line"]


def line(text: str) -> str:
    """Refuse control characters: they break lines, terminals and, as NUL, databases."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("control characters are not allowed")
    return text


#: An issuer, a subject, an identity.
Text = Annotated[str, StringConstraints(min_length=1, max_length=2048), AfterValidator(line)]


class Body(BaseModel):
    """A request body: unknown members are refused, since a misspelt one would be ignored in silence."""

    model_config = ConfigDict(extra="forbid")
