import subprocess
from dataclasses import replace

import pytest

from comit_ray.data.sources.tar_listing import CHECKSUMS, checksums, find_listings, read_listing
from comit_ray.errors import ManifestError
from comit_ray.storage.archive import Member, list_members
from tests.data import archives

SHA = "a" * 40


def test_what_tar_itself_prints_is_what_the_archive_holds(tmp_path):
    files = {"d/plain.png": b"1", "d/with space.png": b"22", "d/Tórax.png": b"333", "./d/dot.json": b""}
    packed = archives.write(tmp_path / "a.tgz", files)
    printed = subprocess.run(["tar", "-tvf", packed], capture_output=True, check=True).stdout
    (tmp_path / "a.tar-tvf.txt").write_bytes(printed)
    listed = list(read_listing(str(tmp_path / "a.tar-tvf.txt")))
    assert listed == [Member(name, len(data)) for name, data in files.items()]
    assert listed == [replace(member, tag=None) for member in list_members(packed)], "a listing knows no seconds"


def test_folders_and_links_are_no_files(tmp_path):
    (tmp_path / "x.tar-tvf.txt").write_text(
        "drwxr-xr-x 1000/1000         0 2020-05-30 10:11 covid19_posi/\n"
        "-rw-r--r-- bimcv/domain users  8110432 2020-05-30 10:11:12 covid19_posi/sub-S03427/a_dx.png\n"
        "lrwxrwxrwx bimcv/users        0 2020-05-30 10:11 covid19_posi/link -> a_dx.png\n\n"
    )
    found = list(read_listing(str(tmp_path / "x.tar-tvf.txt")))
    assert found == [
        Member("covid19_posi/sub-S03427/a_dx.png", 8110432),
        Member("covid19_posi/link", 0, link=True),
    ]


def test_a_line_of_another_form_is_named(tmp_path):
    (tmp_path / "x.tar-tvf.txt").write_text("covid19_posi/sub-S03427/a_dx.png\n")
    with pytest.raises(ManifestError, match=r"tar -tvf.*got 'covid19_posi"):
        list(read_listing(str(tmp_path / "x.tar-tvf.txt")))


@pytest.mark.parametrize(
    ("beside", "found"),
    [
        (["p/a.tgz"], {"p/a.tgz": "p/a.tar-tvf.txt"}),
        (["p/a.tar.gz"], {"p/a.tar.gz": "p/a.tar-tvf.txt"}),
        (["p/sha1sum.txt"], {"p/a.tgz": "p/a.tar-tvf.txt"}),
    ],
)
def test_the_archives_name_is_that_of_the_file_or_of_the_checksum(tmp_path, beside, found):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "sha1sum.txt").write_text(f"{SHA}  a.tgz\n{SHA} *b.tar.gz\n")
    assert find_listings(str(tmp_path), ["p/a.tar-tvf.txt", *beside]) == found


def test_a_listing_of_a_plain_tar_is_not_needed(tmp_path):
    assert find_listings(str(tmp_path), ["a.tar", "a.tar-tvf.txt"]) == {}


def test_a_name_that_nothing_states_is_not_guessed(tmp_path):
    with pytest.raises(ManifestError, match=r"lists the archive a, of which neither a file"):
        find_listings(str(tmp_path), ["a.tar-tvf.txt", "b.tgz"])


@pytest.mark.parametrize("name", ["sha1sum.txt", "sha1sums.txt", "sha1sums-b.txt"])
def test_what_the_file_of_checksums_is_called(name):
    assert CHECKSUMS.fullmatch(name)


def test_checksums(tmp_path):
    (tmp_path / "sha1sum.txt").write_text(f"{SHA.upper()}  ./a b.tgz\n\n")
    assert checksums(str(tmp_path), "sha1sum.txt") == {"a b.tgz": f"sha1:{SHA}"}
    (tmp_path / "sha1sum.txt").write_text("a.tgz: OK\n")
    with pytest.raises(ManifestError, match="expected lines 'SHA-1 FILE'"):
        checksums(str(tmp_path), "sha1sum.txt")
