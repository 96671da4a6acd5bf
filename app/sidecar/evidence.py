"""What a sidecar shows to be attested: files that say which image, token, EAT or VSA, read anew before each use.

A file is YAML or JSON and holds one item or a list:

    type: image
    digest: sha256:…
    bundles: [image.sigstore.json]

    type: token        # of Kubernetes or a cloud, in a file that its owner renews
    file: /var/run/secrets/tokens/placet

    type: eat          # an entity attestation token (RFC 9711) as JWT
    file: eat.jwt

    type: vsa          # a verification summary of the image, as JWT
    file: vsa.jwt
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.core import strict_yaml
from app.core.complaint import complaint
from app.core.errors import PlacetError, UsageError
from app.core.files import read_bounded
from app.core.targets import Digest

_MAX_FILE = 64 * 1024
_MAX_BUNDLE = 256 * 1024
_MAX_TOKEN = 16 * 1024
#: Items of evidence in all files together.
MAX_ITEMS = 16


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Image(_Item):
    type: Literal["image"]
    digest: Digest
    bundles: Annotated[list[str], Field(min_length=1, max_length=8)]

    def read(self, beside: Path) -> dict[str, Any]:
        bundles = [_text(beside / name, _MAX_BUNDLE) for name in self.bundles]
        return {"type": self.type, "digest": self.digest, "bundles": bundles}


class _Token(_Item):
    type: Literal["token", "eat", "vsa"]
    file: str

    def read(self, beside: Path) -> dict[str, Any]:
        return {"type": self.type, "token": _text(beside / self.file, _MAX_TOKEN)}


_Items = TypeAdapter[list[_Image | _Token]](list[Annotated[_Image | _Token, Field(discriminator="type")]])


class Evidence:
    """The evidence that some files name."""

    def __init__(self, files: list[Path]) -> None:
        """Reads the files, not yet what they name. Raises `UsageError`."""
        self._items = [(item, file.absolute().parent) for file in files for item in _items(file)]
        if len(self._items) > MAX_ITEMS:
            raise UsageError(f"there are {len(self._items)} items of evidence; at most {MAX_ITEMS} are sent")

    def read(self) -> list[dict[str, Any]]:
        """The evidence as it is now, in the form of the control plane's API. Raises `PlacetError`."""
        return [item.read(beside) for item, beside in self._items]


def _items(file: Path) -> list[_Image | _Token]:
    try:
        document = strict_yaml.load(read_bounded(file, _MAX_FILE, "the evidence"))
        return _Items.validate_python(document if isinstance(document, list) else [document])
    except strict_yaml.StrictYAMLError as error:
        raise UsageError(f"{file} is {error}") from error
    except ValidationError as error:
        raise UsageError(f"{file}: {complaint(error)}") from error


def _text(path: Path, limit: int) -> str:
    try:
        return read_bounded(path, limit, "the evidence").decode().strip()
    except UnicodeDecodeError as error:
        raise PlacetError(f"{path} is not UTF-8") from error
