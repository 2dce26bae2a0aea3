"""Reads `*.tar-tvf.txt`, the listing that a dataset ships beside a tar, instead of the tar's headers.

So a manifest can be made of archives that have not been downloaded yet. The archive's file name is that of the archive
beside the listing, or else the name that `sha1sum.txt` states.
"""

import re
from collections.abc import Iterable, Iterator

from comit_ray.errors import ManifestError
from comit_ray.storage import storage
from comit_ray.storage.archive import ArchiveKind, Member, archive_kind

SUFFIX = ".tar-tvf.txt"
CHECKSUMS = re.compile(r"sha1sums?(-\w+)?\.txt")
"""Names that datasets give the file with the SHA-1 of each of their files."""
_GZ_ENDINGS = (".tgz", ".tar.gz")
# mode, owner/group (which may hold blanks), bytes, day, time, name; GNU tar's, also with seconds or numeric owners
_LINE = re.compile(r"(?P<kind>[-bcdhlps])\S{9,10}\s+\S.*?\s+(?P<size>\d+)\s+\d{4}-\d\d-\d\d\s+[\d:.]+\s(?P<name>.+)")
_LINKS = {"h": " link to ", "l": " -> "}
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"\\": b"\\", b'"': b'"'}


def find_listings(root: str, paths: Iterable[str]) -> dict[str, str]:
    """Returns path of each tar.gz that has a listing -> path of the listing; all relative to `root`.

    Raises:
        ManifestError: if nothing states the file name of a listed archive.
    """
    known: dict[str, str] = {}
    listings, sums, plain = [], [], set[str]()
    for path in paths:
        if path.endswith(SUFFIX):
            listings.append(path)
        elif CHECKSUMS.fullmatch(path.rpartition("/")[2]):
            sums.append(path)
        elif archive_kind(path) is ArchiveKind.TAR_GZ:
            known[_stem(path)] = path
        elif archive_kind(path) is ArchiveKind.TAR:
            plain.add(path.removesuffix(".tar"))
    for path in sums:
        for name in checksums(root, path):
            if archive_kind(name) is ArchiveKind.TAR_GZ:
                known.setdefault(_stem(name), name)
    found: dict[str, str] = {}
    for listing in listings:
        stem = _stem(listing.removesuffix(SUFFIX))
        if stem in plain:
            continue  # a tar's own headers are quick to read, and state each member's offset
        if stem not in known:
            raise ManifestError(
                f"{root}/{listing} lists the archive {stem}, of which neither a file ({' or '.join(_GZ_ENDINGS)}) nor "
                f"a line in sha1sum.txt is there: put one of them beside the listing, so that its file name is known"
            )
        found[known[stem]] = listing
    return found


def checksums(root: str, path: str) -> dict[str, str]:
    """Returns file, relative to `root` -> `sha1:hex digest`, from a `sha1sum.txt` at the relative `path`.

    Raises:
        ManifestError: if a line does not have the form that sha1sum writes.
    """
    folder = path.rpartition("/")[0]
    found = {}
    for line in storage.read_bytes(storage.join(root, path)).decode("utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        parsed = re.fullmatch(r"\\?([0-9a-fA-F]{40})\s+\*?(?:\./)?(.+)", line.strip())
        if not parsed:
            raise ManifestError(f"expected lines 'SHA-1 FILE' in {root}/{path}, got {line[:100]!r}")
        found["/".join(part for part in (folder, parsed[2]) if part)] = f"sha1:{parsed[1].lower()}"
    return found


def read_listing(uri: str) -> Iterator[Member]:
    """Yields the files and links of a `tar -tvf` listing, in the archive's order.

    Raises:
        ManifestError: if a line has another form.
    """
    for raw in storage.read_bytes(uri).splitlines():
        line = raw.decode("utf-8", errors="surrogateescape")
        if not line.strip():
            continue
        parsed = _LINE.fullmatch(line)
        if not parsed:
            raise ManifestError(f"expected lines as `tar -tvf` prints them in {uri}, got {line[:100]!r}")
        kind, name = parsed["kind"], parsed["name"]
        if kind in _LINKS:
            yield Member(_unescaped(name.partition(_LINKS[kind])[0]), 0, link=True)
        elif kind == "-":
            yield Member(_unescaped(name), int(parsed["size"]))


def _unescaped(name: str) -> str:
    r"""Returns the name with GNU tar's escapes undone: `T\303\263rax` is Tórax."""
    raw = name.encode("utf-8", errors="surrogateescape")

    def one(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes([int(code, 8)]) if len(code) == 3 else _ESCAPED.get(code, match[0])

    return _ESCAPE.sub(one, raw).decode("utf-8", errors="surrogateescape")


def _stem(path: str) -> str:
    return next((path[: -len(ending)] for ending in _GZ_ENDINGS if path.lower().endswith(ending)), path)
