from pathlib import Path

import pytest

from comit_ray.data.sources.table import table_mapping
from comit_ray.data.sources.table.table_cells import fill, template_columns
from comit_ray.data.sources.table.table_mapping import Mapping, load, parse, shipped
from comit_ray.errors import ConfigError, ManifestError, Reason
from comit_ray.tables.vocabulary import Split, View

LEAST = "tables: [{name: list.csv}]\nimage: {at: ['{file}']}\n"


def mapping(text: str) -> Mapping:
    return parse((LEAST + text).encode(), origin="my.yaml")


def test_every_shipped_mapping_is_one() -> None:
    assert shipped() == ["covidx", "rsna-boxes", "siim-rle", "vindr-boxes"]
    for name in shipped():
        assert load(name).columns()


def test_the_mapping_of_the_documentation_is_one() -> None:
    text = (table_mapping.__doc__ or "").split("\n\n")[1]
    parsed = parse(text.encode(), origin="documentation")
    assert parsed.tables[0].split is Split.TRAIN
    assert {"file", "hospital", "patient", "study", "position", "modality", "x", "Edema", "Normal"} <= set(
        parsed.columns()
    )
    assert parsed.view.of({"position": "LL"}) is View.LATERAL
    assert parsed.excluded[0].of({"modality": "CT"}) is Reason.WRONG_MODALITY
    assert [parsed.labels.unhealthy.of({"finding": text}) for text in ("no finding", "Mass")] == [0, 1]
    other = [{"Edema": "0", "Mass": "1", "Normal": "0"}, dict.fromkeys(("Edema", "Mass", "Normal"), "0")]
    assert [parsed.labels.other.of(record) for record in other] == [1, None]


def test_ones_own_mapping_is_read_from_a_file_or_a_bucket(tmp_path: Path, bucket: str) -> None:
    from comit_ray.storage import storage

    for uri in (str(tmp_path / "my.yaml"), f"{bucket}/mappings/my.yaml"):
        storage.write_bytes(uri, LEAST.encode())
        assert load(uri).columns() == ["file"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, r"needs --table\.mapping: the URI of a YAML, or one of covidx, rsna-boxes, siim-rle, vindr-boxes"),
        ("rsna", "unknown mapping 'rsna'; known: covidx, rsna-boxes, siim-rle, vindr-boxes; or the URI of a YAML"),
        ("absent.yaml", "cannot read the mapping absent.yaml: no file .*; known by name: covidx"),
        ("/absent/mapping", "cannot read the mapping /absent/mapping: no file"),
    ],
)
def test_an_unknown_mapping_is_shown_the_known_ones(name: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("coment: x", r"^my\.yaml: coment: no such option.*valid keys: tables, format, encoding"),
        ("image: {att: ['{a}']}", "the key 'image' twice"),
        ("sex: {colum: s}", "sex.colum: .*valid keys: column, values"),
        ("labels: {covit: 0}", "labels.covit: .*valid keys: unhealthy, covid, other"),
        (
            "labels: {covid: {colum: s}}",
            "labels.covid.colum: .*valid keys: constant, column, values, otherwise, one_if",
        ),
        ("excluded: [{colum: s}]", r"excluded\.0\.colum: .*valid keys: constant, column"),
        ("disease_mask: {boxs: 1}", "disease_mask.boxs: .*valid keys: files, boxes, siim"),
        ("labels: {covid: 2}", r"labels.covid.constant: expected one of 0\|1"),
        ("labels: {covid: {column: a}}", "labels.covid: expected `column` and `values` together"),
        ("labels: {covid: {values: {a: 1}}}", "labels.covid: expected `column` and `values` together"),
        ("labels: {covid: {}}", "labels.covid: expected one of: a plain value; column and values; one_if and zero_if"),
        ("labels: {covid: {column: a, values: {b: 1}, one_if: {any_of: [c], equals: 1}}}", "expected one of: a plain"),
        (
            "labels: {covid: {column: a, values: {yes: 1}}}",
            "got True: put quotes around words such as yes, no and null",
        ),
        ("labels: {covid: {column: a, values: {A: 1, a: 0}}}", r"more than once \(case does not count\): a"),
        ("labels: {covid: {column: a, values: {b: 3}}}", r"labels.covid.values.b: expected one of 0\|1"),
        ("labels: {covid: {one_if: {any_of: [], equals: 1}}}", "one_if.any_of: .*at least 1 item"),
        ("view: oblique", r"view.constant: expected one of PA\|AP"),
        ("excluded: [missing]", r"expected a reason that excludes an image \(multi_frame, .*, got missing"),
        ("acquired_on: {column: d, format: '%Y'}", "expected a format of year, month and day such as '%Y-%m-%d'"),
        ("acquired_on: {column: d, format: '%Q-%m-%d'}", "expected a format of year, month and day"),
        ("findings: {column: a, columns: [b], equals: 1}", "findings: expected `column`"),
        ("findings: {columns: [b]}", "findings: expected `column`"),
        ("patient: '{a'", "patient: expected text with {column} or {column|stem}, got '{a'"),
        ("patient: '{a|upper}'", "patient: expected text with"),
        ("site: ''", "site: .*at least 1 character"),
        ("images: '('", "images: expected a regular expression, got '\\('"),
        ("disease_mask: {}", "disease_mask: expected one of `files`, `boxes` and `siim`"),
        (
            "disease_mask: {boxes: {left: a, top: b, width: c, bottom: d, frame: image}}",
            "boxes: expected width and height, or right and bottom, got width and bottom",
        ),
        ("disease_mask: {boxes: {left: a, top: b, width: c, height: d}}", "boxes.frame: is needed"),
        ("disease_mask: {siim: {column: a, frame: [0, 4]}}", "must be greater than 0"),
        ("optional_columns: [b]", "optional_columns that nothing is read from: b"),
        ("format: covidx", "the format covidx has columns patientid, filename, label, source, got file"),
        ("{", r"^my\.yaml: expected YAML, got"),
    ],
)
def test_a_broken_mapping_is_shown_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mapping(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected options"),
        ("- a", "expected options"),
        ("image: {at: [x]}", "tables: is needed"),
        ("tables: []\nimage: {at: [x]}", "tables: .*at least 1"),
        ("tables: [{name: a}]", "image: is needed"),
        ("tables: [{name: a}]\nimage: {}", "image: expected `at` or `anywhere`"),
        ("tables: [{name: '['}]\nimage: {at: [x]}", r"tables\.0\.name: expected a regular expression"),
        (
            "tables: [{name: a, nme: b}]\nimage: {at: [x]}",
            r"tables\.0\.nme: .*valid keys: name, split, optional, image",
        ),
        (b"\xff\xfe\xfa".decode("latin-1"), "expected options"),
    ],
)
def test_a_mapping_needs_tables_and_images(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text.encode(), origin="my.yaml")


def test_cells_of_values_are_text_without_case() -> None:
    label = mapping("labels: {covid: {column: a, values: {1: 1, 0.0: 0, Not Done: null, '': null}}}").labels.covid
    assert [label.of({"a": cell}) for cell in ("1", "0.0", "NOT DONE", "")] == [1, 0, None, None]
    with pytest.raises(ManifestError, match=r"column 'a': expected one of '1', '0\.0', 'not done', '', got '0'"):
        label.of({"a": "0"})


def test_otherwise_is_no_answer_to_a_blank_cell() -> None:
    """An absent label is not a positive one."""
    label = mapping("labels: {unhealthy: {column: a, values: {none: 0}, otherwise: 1}}").labels.unhealthy
    assert label.of({"a": "mass"}) == 1
    with pytest.raises(ManifestError, match="got a blank cell, which needs an entry '' of its own"):
        label.of({"a": ""})


def test_a_label_by_several_columns() -> None:
    text = "{one_if: {any_of: [Edema, Mass], equals: [1, 1.0]}, zero_if: {any_of: [Normal], equals: 1.0}}"
    label = mapping(f"labels: {{unhealthy: {text}}}").labels.unhealthy
    blank = {"Edema": "", "Mass": "", "Normal": ""}
    assert label.of(blank) is None
    assert label.of(blank | {"Mass": "1.0"}) == 1
    assert label.of(blank | {"Mass": "-1.0"}) is None
    assert label.of(blank | {"Normal": "1.0"}) == 0
    with pytest.raises(ManifestError, match="one_if and zero_if both hold"):
        label.of(blank | {"Normal": "1.0", "Edema": "1"})


def test_templates() -> None:
    record = {"a": "x.y.png", "b c": "7", "blank": ""}
    assert fill("{a}/{b c}-{a|stem}.dcm", record) == "x.y.png/7-x.y.dcm"
    assert fill("{b c|stem}", record) == "7"
    assert fill("plain", record) == "plain"
    assert fill("{a}{blank}", record) is None
    assert list(template_columns("{a}/{b c}-{a|stem}.dcm")) == ["a", "b c", "a"]
