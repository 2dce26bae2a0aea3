"""Where one file's bytes are: a URI, and for a member of an archive its name; as text in a column of a table."""

import json
from dataclasses import dataclass
from typing import Self

from comit_ray.errors import ManifestError


@dataclass(frozen=True, slots=True)
class FileRef:
    """One file.

    Attributes:
        uri: of the file, or of the archive that holds it.
        member: its name inside the archive; None for a plain file.
        offset: byte at which the member's header begins, in an uncompressed tar alone.
    """

    uri: str
    member: str | None = None
    offset: int | None = None

    def to_text(self) -> str:
        """The URI of a plain file; for a member JSON: `{"uri": ..., "member": ...}`."""
        if self.member is None:
            return self.uri
        fields = {"uri": self.uri, "member": self.member}
        if self.offset is not None:
            return json.dumps(fields | {"offset": self.offset})
        return json.dumps(fields)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The inverse of `to_text`.

        Raises:
            ManifestError: if it is JSON of another form.
        """
        if not text.startswith("{"):
            return cls(text)
        try:
            fields = json.loads(text)
            uri, member, offset = fields["uri"], fields["member"], fields.get("offset")
            if not isinstance(uri, str) or not isinstance(member, str):
                raise TypeError("uri and member must be text")
            return cls(uri, member, None if offset is None else int(offset))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestError(f"expected a URI or {{'uri': ..., 'member': ...}}, got {text[:200]}") from error

    def __str__(self) -> str:
        return self.uri if self.member is None else f"{self.uri}!{self.member}"
