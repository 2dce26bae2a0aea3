"""Lists a source's files once: loose files, and members of archives.

The files of an archive count as if it were unpacked where it lies: its member `images/a.png` in `part1/b.tar.gz` has
the name `part1/images/a.png`. If a loose file already has that name, the archive was unpacked and the file counts once.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import pyarrow as pa

from comit_ray.data.sources.listing import read as read_listing_of
from comit_ray.data.sources.skipped import Skipped, Why, is_hidden, member_name, why
from comit_ray.data.sources.tar_listing import CHECKSUMS, SUFFIX, checksums, find_listings, read_listing
from comit_ray.errors import BrokenArchiveError, DecodeError, ManifestError, Reason, StorageError
from comit_ray.storage import storage, web
from comit_ray.storage.archive import Member, archive_kind, is_streamed, list_members
from comit_ray.storage.file_reader import FileReader, FileRef

IMAGES = r".+\.(png|jpe?g|dcm|dicom)"
"""Names that count as images if no table decides."""

_BATCH = 65_536
_Listed = tuple[str, str | None, int | None, int, str | None, str | None]
"""Path, member, offset, size, name where it differs from the path, and tag (`FileEntry.tag`, `Member.tag`)."""
_LISTING = pa.schema(
    [
        ("path", pa.string()),
        ("member", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("name", pa.string()),  # null means the same as `path`
        ("tag", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    Attributes:
        name: name relative to the root, as if archives were unpacked in place; sources look at this name.
        path: path of the file, or of the archive that holds it, relative to the root.
        size: size in bytes.
        member: name inside the archive; None for a loose file.
        offset: see `comit_ray.storage.file_reader.FileRef`.
        position: place in the listing; files of one archive keep the archive's order.
    """

    name: str
    path: str
    size: int
    member: str | None = None
    offset: int | None = None
    position: int = 0


@dataclass(frozen=True, slots=True)
class BrokenArchive:
    """An archive that cannot be listed to its end. Members before the damage are among the files."""

    path: str
    reason: Reason


class SourceFiles:
    """The files below a source's root, listed once, so that looking for masks never asks the storage again.

    A file takes about 100 bytes. Looking a name up takes about 3 microseconds.

    Args:
        root: URI of the source's directory; a DICOMweb server has no files to list.
        inside_archives: whether to list the members of archives too.
        listing: URI of the listing of the root that `comit_ray.data.sources.listing` wrote; None lists the root now.
        entries: the listing itself, of all files or only of those needed; None takes all, by `listing`.
        trust_listings: whether a `tar-tvf.txt` replaces its archive's own headers even if the archive is present.

    Attributes:
        broken: archives that could not be listed to their end.
        unusable: path and member -> why nothing can be read there: links; names that are not text, occur twice in an
            archive or lead out of the root; encrypted members; members that a listing names and its archive lacks.
        skipped: files passed over so far; `passed_over` has all.
        checksums: file, relative to the root -> `sha1:hex digest`, where a `sha1sum.txt` states it.

    Raises:
        NotFoundError: if there is no directory at `root`.
    """

    def __init__(
        self,
        root: str,
        *,
        inside_archives: bool = True,
        listing: str | None = None,
        trust_listings: bool = True,
        entries: Iterator[storage.FileEntry] | None = None,
    ) -> None:
        self.root = storage.normalise(root)
        self.broken: list[BrokenArchive] = []
        self.unusable: dict[tuple[str, str | None], Reason] = {}
        self.skipped = Skipped()
        self._trust_listings = trust_listings
        loose: Iterator[storage.FileEntry] = iter(())  # empty for a DICOMweb server, which is searched, not listed
        if entries is not None:
            loose = entries
        elif not web.is_web(self.root):
            listed = storage.list_files(self.root, passed_over=True)
            loose = listed if listing is None else read_listing_of(listing, self.root)
        self._table = _to_table(self._loose(loose))
        self._index()
        archives = {file.path for file in self if archive_kind(file.path)} if inside_archives else set()
        listings = find_listings(self.root, (file.path for file in self)) if inside_archives else {}
        if archives or listings:
            found = sorted(archives | listings.keys())
            members = [_to_table(self._members(path, listings.get(path))) for path in found]
            self._table = pa.concat_tables([self._table, *members]).combine_chunks()
            self._index()
        self._opened = archives | set(listings.values())
        sums = (file.path for file in self if CHECKSUMS.fullmatch(file.path.rpartition("/")[2]))
        self.checksums = {name: digest for path in list(sums) for name, digest in checksums(self.root, path).items()}
        self._taken = np.zeros(len(self), np.bool_)
        self._used = np.zeros(len(self), np.bool_)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[SourceFile]:
        """Yields loose files by path, then the members of one archive after another, in its order."""
        at = 0
        for batch in self._table.to_batches(max_chunksize=_BATCH):
            columns = (batch.column(name).to_pylist() for name in _LISTING.names)
            for path, member, offset, size, name, _ in zip(*columns, strict=True):
                yield SourceFile(name or path, path, size, member, offset, at)
                at += 1

    def matching(self, pattern: str) -> Iterator[SourceFile]:
        """Returns files whose whole name matches the regular expression, ignoring case, in the order of iteration."""
        compiled = re.compile(pattern, re.IGNORECASE | re.DOTALL)  # a name may hold a line break
        return (file for file in self if compiled.fullmatch(file.name))

    def find(self, name: str) -> SourceFile | None:
        """Returns the file of this name, or None. If several archives have it, the first.

        `é` as one character and as two (NFC and NFD) are the same name, unless both exist.
        """
        alike: SourceFile | None = None
        form_c = composed(name)
        key = hash(form_c)
        at = int(self._hashes.searchsorted(key))  # np.searchsorted takes twice as long
        while at < len(self._hashes) and self._hashes[at] == key:
            file = self._at(int(self._order[at]))
            if file.name == name:
                return file
            if alike is None and composed(file.name) == form_c:
                alike = file
            at += 1
        return alike

    def first(self, *names: str) -> SourceFile | None:
        """Returns the first of `names` that exists, or None."""
        return next((file for name in names if (file := self.find(name)) is not None), None)

    def reference(self, file: SourceFile) -> FileRef:
        """Returns the reference to the bytes of the file. The file then counts as used."""
        self._used[file.position] = True
        return FileRef(f"{self.root}/{file.path}", file.member, file.offset)

    def first_uri(self, *names: str) -> str | None:
        """Returns the reference, as text, to the first of `names` that exists, or None; the form of a mask column."""
        file = self.first(*names)
        return None if file is None else self.reference(file).to_text()

    def table(self, pattern: str, expected: str) -> SourceFile:
        """Returns the one file that matches `pattern`.

        Raises:
            ManifestError: no file matches, or several; the message names what was `expected`.
        """
        found = list(self.matching(pattern))
        if len(found) != 1:
            came = f"found {', '.join(file.name for file in found)}" if found else "found none"
            raise ManifestError(f"expected one {expected} in {self.root}, {came}")
        return found[0]

    def read(self, file: SourceFile, at_most: int = 2**30) -> bytes:
        """Returns the bytes of the file, at most `at_most`.

        Raises:
            ManifestError: the file cannot be read.
        """
        try:
            with FileReader(at_most) as reader:
                return reader.read(self.reference(file))
        except (StorageError, DecodeError) as error:
            raise ManifestError(f"cannot read {self.reference(file)}: {error}") from error

    @property
    def listed(self) -> pa.Table:
        """What was listed: `path`, `member`, `size` and `tag` of every file, and more."""
        return self._table

    def take(self, file: SourceFile) -> SourceFile:
        """Marks the file as named by a table, so that `untaken` leaves it out, and returns it."""
        self._taken[file.position] = True
        return file

    def untaken(self, pattern: str) -> Iterator[SourceFile]:
        """Returns files that match `pattern` and that no table has named."""
        return (file for file in self.matching(pattern) if not self._taken[file.position])

    def use(self, path: str, member: str | None, position: int) -> None:
        """Records that the file at this place is a row of the manifest; nothing happens if there is no file."""
        if len(self) and position < len(self):
            file = self._first if position == 0 else None  # rows of absent files have position 0 too
            if file is None or (file.path, file.member) == (path, member):
                self._used[position] = True

    def pass_over(self, file: SourceFile, reason: Why) -> None:
        """Records that the source has looked at the file, and why it is not a row."""
        self._used[file.position] = True
        self.skipped.add(file.path, file.member, file.size, reason)

    def passed_over(self) -> Skipped:
        """Returns all files below the root that are neither a row nor used by the source. Ask once, after the rows."""
        for file in self:
            opened = file.member is None and (file.path in self._opened or file.path.endswith(SUFFIX))
            if not (self._used[file.position] or self._taken[file.position] or opened):
                if not CHECKSUMS.fullmatch(file.path.rpartition("/")[2]):
                    self.skipped.add(file.path, file.member, file.size, why(file.name, file.member))
                self._used[file.position] = True
        return self.skipped

    @cached_property
    def _first(self) -> SourceFile:
        return self._at(0)

    def _at(self, row: int) -> SourceFile:
        path, member, offset, size, name, _ = (self._table.column(i)[row].as_py() for i in range(len(_LISTING)))
        return SourceFile(name or path, path, size, member, offset, row)

    def _index(self) -> None:
        """Sets the sorted hashes of all names, and the rows they belong to; 16 bytes per file."""
        hashes = np.fromiter((hash(composed(file.name)) for file in self), np.int64, len(self))
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def _loose(self, entries: Iterator[storage.FileEntry]) -> Iterator[_Listed]:
        for entry in entries:
            path = _text(entry.path)
            if entry.passed is not None:
                self.skipped.add(path, None, entry.size, entry.passed)
                continue
            odd = any(part in ("", ".", "..") for part in path.split("/"))  # a key in S3
            name = member_name("", path) if odd else path
            if path != entry.path or name.startswith("../"):
                self.unusable[path, None] = Reason.UNREADABLE
            yield path, None, None, entry.size, None if name == path else name, entry.tag

    def _members(self, path: str, listing: str | None) -> Iterator[_Listed]:
        """Yields the members of one archive that do not lie unpacked beside it; hidden members are left out."""
        folder = path.rpartition("/")[0]
        seen: set[str] = set()
        unpacked = 0
        for member in self._listed_members(path, listing):
            text = _text(member.name)
            name = _text(member_name(folder, member.name))
            if member.device:
                self.skipped.add(path, text, member.size, Why.NOT_A_FILE)
                continue
            if text in seen:
                self.unusable[path, text] = Reason.CORRUPT
                continue
            seen.add(text)
            if is_hidden(name):
                self.skipped.add(path, text, member.size, Why.HIDDEN)
                continue
            loose = self.find(name)
            if loose is not None and loose.size == member.size:
                unpacked += 1
                self.skipped.add(path, text, member.size, Why.UNPACKED)
                continue
            if member.encrypted:
                self.unusable.setdefault((path, text), Reason.ENCRYPTED)
            if member.link or text != member.name or name.startswith("../"):
                self.unusable.setdefault((path, text), Reason.UNREADABLE)
            yield path, text, member.offset, member.size, name, member.tag
        if unpacked:
            print(f"{path}: {unpacked:,} members lie unpacked beside it and count once", file=sys.stderr)

    def _listed_members(self, path: str, listing: str | None) -> Iterator[Member]:
        uri = storage.join(self.root, path)
        try:
            if listing is None:
                yield from _list(uri)
                return
            listed = read_listing(storage.join(self.root, listing))
            if self._trust_listings or self.find(path) is None:
                yield from listed
                return
            inside = {member.name: member for member in _list(uri)}
            yield from inside.values()
            for member in listed:
                if member.name not in inside:
                    self.unusable[path, _text(member.name)] = Reason.MISSING
                    yield member
        except BrokenArchiveError as error:
            early = isinstance(error.__cause__, EOFError) or "unexpected end" in str(error)
            self.broken.append(BrokenArchive(path, Reason.TRUNCATED if early else Reason.CORRUPT))
            print(f"{error}; the members before the damage are taken", file=sys.stderr)


def _list(uri: str) -> Iterator[Member]:
    if is_streamed(uri):
        print(f"listing {uri}: decompressed from beginning to end, once", file=sys.stderr, flush=True)
    return list_members(uri)


def _to_table(rows: Iterator[_Listed]) -> pa.Table:
    """Returns rows as an Arrow table, with `_BATCH` of them as Python objects at a time."""
    batches = []
    while held := list(islice(rows, _BATCH)):
        columns = [
            pa.array(values, field.type) for values, field in zip(zip(*held, strict=True), _LISTING, strict=True)
        ]
        batches.append(pa.record_batch(columns, schema=_LISTING))
    return pa.Table.from_batches(batches, schema=_LISTING).combine_chunks()


def _text(name: str) -> str:
    r"""Returns the name, with bytes that are not UTF-8 written as `\udcff`, so that a table can hold it."""
    return name.encode("utf-8", "backslashreplace").decode()


def composed(name: str) -> str:
    """Returns the name in Unicode normal form C, which most systems write; names from macOS have form D."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
