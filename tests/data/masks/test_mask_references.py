import json

import pytest

from comit_ray.data.masks.mask_references import (
    boxes_reference,
    parse_reference,
    pasted_reference,
    polygons_reference,
    referenced_files,
    rle_reference,
    siim_reference,
)
from comit_ray.errors import ManifestError
from comit_ray.storage.file_reader import FileRef

ARCHIVED = FileRef("s3://bucket/masks.tar", "a.png", 512)


def test_references_are_short_and_plain() -> None:
    assert json.loads(boxes_reference([(225.084745762712, 1, 2, 3)], 1024, 512)) == {
        "boxes": [[225.08, 1, 2, 3]],
        "frame": [1024, 512],
    }
    assert polygons_reference([(0, 0.123, 4, 0, 4, 4)], None, None) == ('{"polygons":[[0,0.12,4,0,4,4]],"frame":null}')
    assert rle_reference([{"counts": b"04`1", "size": (4, 4)}, {"counts": [3, 4, 9], "size": [4, 4]}]) == (
        '{"rle":[{"counts":"04`1","size":[4,4]},{"counts":[3,4,9],"size":[4,4]}]}'
    )
    assert siim_reference([" 5 3", "-1"]) == '{"siim":[" 5 3","-1"],"frame":[1024,1024]}'
    parts = [(ARCHIVED, 1, 2, 3, 4), (FileRef("/masks/b.png"), 5, 6, 7, 8)]
    assert json.loads(pasted_reference(parts, 100, 200)) == {
        "pasted": [
            {"uri": "s3://bucket/masks.tar", "member": "a.png", "offset": 512}
            | {"top": 1, "left": 2, "height": 3, "width": 4},
            {"uri": "/masks/b.png", "member": None, "top": 5, "left": 6, "height": 7, "width": 8},
        ],
        "frame": [100, 200],
    }


def test_files_behind_a_reference_are_known() -> None:
    """So that one pass over a tar.gz can be asked for all of them."""
    assert referenced_files("/masks/{a}.png") == (FileRef("/masks/{a}.png"),)
    for file in (ARCHIVED, FileRef("/m.zip", "b.png"), FileRef("/masks/c.png")):
        assert referenced_files(file.to_text()) == (file,)
        assert referenced_files(pasted_reference([(file, 0, 0, 1, 1), (ARCHIVED, 0, 0, 1, 1)], 4, 4)) == (
            file,
            ARCHIVED,
        )
    for reference in (
        boxes_reference([(0, 0, 1, 1)], 4, 4),
        polygons_reference([(0, 0, 1, 0, 1, 1)], 4, 4),
        rle_reference([{"counts": [16], "size": [4, 4]}]),
        siim_reference(["0 1"]),
    ):
        assert referenced_files(reference) == ()


@pytest.mark.parametrize(
    "reference",
    [
        "{",
        "{}",
        "[]",
        "[[0, 0, 1, 1]]",
        '{"circles": [], "frame": [4, 4]}',
        '{"boxes": [], "siim": [], "frame": [4, 4]}',
    ],
)
def test_json_of_no_known_form_is_shown_the_known_ones(reference: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_reference(reference)
    for known in ("URI of a mask image", '"uri"', '"boxes"', '"polygons"', '"rle"', '"siim"', '"pasted"', "got "):
        assert known in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ('{"boxes": []}', r'form \{"boxes": .*: frame: Field required'),
        ('{"boxes": [[1, 2, 3]], "frame": [4, 4]}', r"boxes\.0\.3: Field required"),
        ('{"boxes": [["a", 2, 3, 4]], "frame": [4, 4]}', r"boxes\.0\.0: .*valid number"),
        ('{"boxes": [["1", 2, 3, 4]], "frame": [4, 4]}', r"boxes\.0\.0: .*valid number"),
        ('{"boxes": [[NaN, 2, 3, 4]], "frame": [4, 4]}', r"boxes\.0\.0: .*finite number"),
        ('{"boxes": [], "frame": [0, 4]}', r"frame\.0: .*greater than 0"),
        ('{"boxes": [], "frame": [4, 4], "colour": 1}', "colour: Extra inputs"),
        ('{"polygons": [[1, 2, 3, 4]], "frame": null}', r"polygons\.0: .*at least 6"),
        ('{"rle": []}', "rle: .*at least 1"),
        ('{"rle": [{"counts": [1.5], "size": [4, 4]}]}', r"rle\.0\.counts"),
        ('{"rle": [{"counts": "04", "size": [4, 4]}], "frame": [4, 4]}', "frame: Extra inputs"),
        ('{"siim": "1 2", "frame": [4, 4]}', "siim: .*valid array"),
        (
            '{"pasted": [{"uri": "a.png", "top": 0, "left": 0, "width": 4}], "frame": [4, 4]}',
            r"pasted\.0\.height: Field",
        ),
        ('{"uri": "a.zip", "name": "b"}', "name: Extra inputs"),
    ],
)
def test_a_broken_form_is_named_with_what_is_wrong(reference: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_reference(reference)
