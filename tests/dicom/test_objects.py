"""The objects of one image: what they hold, that they are the same every time, and that other programs read them."""

import shutil
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.sr.codedict import codes

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.frame import FrameMap, frame_map, mask_to_frame
from comit_ray.data.images.load import decode
from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.data.masks.masks import to_original
from comit_ray.dicom import concepts
from comit_ray.dicom.concepts import Concept
from comit_ray.dicom.gsps import make_gsps, outlines
from comit_ray.dicom.result import ImageResult, Naming, make_result
from comit_ray.dicom.reviews import make_review, that_count
from comit_ray.dicom.secondary_capture import draw, make_secondary_capture
from comit_ray.dicom.seg import make_seg
from comit_ray.dicom.source import read_header, without_identity
from comit_ray.dicom.sr import make_sr
from comit_ray.errors import DecodeError, Reason
from tests.dicom.support import CANARIES, NAMING, masks, prediction, radiograph, read, result

MAKERS: dict[str, Callable[[bytes, ImageResult, Naming], bytes]] = {
    "seg": lambda data, one, naming: make_seg(read_header(data), one, naming),
    "sr": lambda data, one, naming: make_sr(read_header(data), one, naming, with_seg=True),
    "gsps": lambda data, one, naming: make_gsps(read_header(data), one, naming),
    "sc": lambda data, one, naming: make_secondary_capture(
        read_header(data), decode(data, DecodeLimits()), one, naming
    ),
}
REVIEW = {
    "image_id": "pacs/a.dcm", "reader": "R7", "verdict": "abnormal", "zones": [0, 1, 2, 3, None, 0], "blinded": True,
}  # fmt: skip
NO_SCORES = dict.fromkeys(("p_covid", "p_other", "p_unhealthy"))
SCREENED: dict[str, Any] = {"status": "failed", "reason": "truncated", **NO_SCORES}


def failed() -> ImageResult:
    """An image without scores."""
    return make_result(prediction(**SCREENED, covid_flag=None, operating_point=None, calibration=None), None, {})


def texts(item: Any) -> list[str]:
    """Every text, code's meaning and number of a report, as `name=value`."""
    found = []
    for one in item.get("ContentSequence", []):
        name = one.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in one else ""
        if one.ValueType == "TEXT":
            found.append(f"{name}={one.TextValue}")
        elif one.ValueType == "CODE":
            found.append(f"{name}={one.ConceptCodeSequence[0].CodeMeaning}")
        elif one.ValueType == "NUM":
            found.append(f"{name}={one.MeasuredValueSequence[0].NumericValue}")
        elif one.ValueType == "PNAME":
            found.append(f"{name}={one.PersonName}")
        found += texts(one)
    return found


@given(
    mask_HW=arrays(bool, (32, 32)),
    height=st.integers(32, 200),
    width=st.integers(32, 200),
    fit=st.sampled_from(["stretch", "letterbox"]),
)
@settings(max_examples=40, deadline=None)
def test_a_mask_brought_back_and_framed_again_is_the_same(
    mask_HW: np.ndarray, height: int, width: int, fit: Any
) -> None:
    """Through the table, whose scale is rounded to float32; of a letterbox, the part that the original fills."""
    frame = FrameConfig(size=32, fit=fit)
    exact = frame_map(height, width, frame)
    stored = FrameMap(
        fit, *(float(np.float32(getattr(exact, name))) for name in FrameMap.__annotations__ if name != "fit")
    )
    filled = mask_to_frame(np.ones((height, width), np.uint8), frame).astype(bool)
    if filled.any(axis=1).sum() > height or filled.any(axis=0).sum() > width:
        return  # an original that is smaller than its place in the frame has fewer pixels than the mask
    back = to_original(mask_HW, stored, height, width)
    np.testing.assert_array_equal(mask_to_frame(back.astype(np.uint8), frame).astype(bool), mask_HW & filled)


@pytest.mark.parametrize("form", MAKERS)
def test_equal_results_are_equal_bytes_and_another_run_is_another_instance(form: str) -> None:
    data, make = radiograph(), MAKERS[form]
    once = make(data, result(), NAMING)
    assert once == make(data, result(), NAMING)
    others = [
        make(data, result(run_id="another"), NAMING),
        make(data, result(model_id="0123456789ab"), NAMING),
        make(data, result(), Naming("Else", 9701, "0.1.0")),
        make(radiograph(1), result(), NAMING),
    ]
    uids = [read(one).SOPInstanceUID for one in [once, *others]]
    assert len(set(uids)) == 5
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)


@pytest.mark.parametrize("form", MAKERS)
def test_objects_bear_the_patient_of_the_source(form: str) -> None:
    source = read(radiograph())
    made = read(MAKERS[form](radiograph(), result(), NAMING))
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        assert made[keyword].value == source[keyword].value, keyword
    assert str(made.PatientName) == f"{CANARIES[0]}^Jörg"
    assert (made.ContentDate if "ContentDate" in made else made.SeriesDate) == "20261129"
    assert "abc123def456" in str(made.SoftwareVersions)


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_a_segmentation_has_coded_segments_in_the_matrix_of_the_source(modality: Any) -> None:
    data, one = radiograph(modality=modality), result()
    made = read(make_seg(read_header(data), one, NAMING))
    assert (made.SegmentationType, made.Rows, made.Columns, made.NumberOfFrames) == ("BINARY", 200, 160, 2)
    assert made.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    (shared,) = made.SharedFunctionalGroupsSequence
    assert "PixelMeasuresSequence" not in shared, "the source does not say it"
    kinds = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in made.SegmentSequence]
    assert [(kind.CodeValue, kind.CodingSchemeDesignator) for kind in kinds] == [("39607008", "SCT"), ("112033", "DCM")]
    algorithm = made.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("COMiT-Net", "0.1.0, model abc123def456")
    for frame, task in enumerate(("lung", "disease")):
        np.testing.assert_array_equal(made.pixel_array[frame].astype(bool), one.original_mask(task, 200, 160))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"PixelSpacing": [0.14, 0.16], "ImagerPixelSpacing": [0.2, 0.2]}, [0.14, 0.16]),
        ({"ImagerPixelSpacing": [0.2, 0.3]}, [0.2, 0.3]),
    ],
)
def test_the_size_of_a_pixel_is_that_of_the_source(said: dict[str, list[float]], expected: list[float]) -> None:
    source, buffer = read(radiograph()), BytesIO()
    for keyword, value in said.items():
        setattr(source, keyword, value)
    source.save_as(buffer, enforce_file_format=True)
    made = read(make_seg(read_header(buffer.getvalue()), result(), NAMING))
    assert made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == expected


def test_disease_that_was_not_found_is_an_empty_frame() -> None:
    one = make_result(prediction(), masks(disease=False), {})
    made = read(make_seg(read_header(radiograph()), one, NAMING))
    assert [frame.any() for frame in made.pixel_array] == [True, False]


def test_a_report_says_what_the_tables_say() -> None:
    said = texts(read(MAKERS["sr"](radiograph(), result(), NAMING)))
    for line in (
        "Score of COVID-19, 0 to 1=0.75",
        "Threshold of the score of COVID-19=0.41",
        "Score of COVID-19 at or above the operating point=Yes",
        "Operating point that decided the flags=specificity_0.90",
        "Abnormal opacity inside the lungs, fraction of the lungs=0.125",
        "Abnormal opacity, fraction of the lung zone=0.5",
    ):
        assert line in said, said
    assert any(line.startswith("Comment=Not flagged is not normal") for line in said)
    assert not any("any abnormality at or above" in line for line in said), "a null flag is no answer"
    assert sum(line.startswith("Abnormal opacity, fraction of the lung zone") for line in said) == 5, "null: no lung"


def test_highdicom_reads_the_groups_and_what_they_refer_to() -> None:
    from highdicom.sr import srread

    data, one = radiograph(), result()
    content: Any = srread(BytesIO(MAKERS["sr"](data, one, NAMING))).content
    (scores,) = content.get_image_measurement_groups()
    assert [m.name.value for m in scores.get_measurements()] == ["p_covid", "p_other", "p_unhealthy", "covid_threshold"]
    seg = read(make_seg(read_header(data), one, NAMING))
    groups = content.get_planar_roi_measurement_groups()
    assert [group.finding_type.value for group in groups] == ["39607008", "112033"]
    for number, group in enumerate(groups, start=1):
        item = next(item for item in group[0].ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121214")
        reference = item.ReferencedSOPSequence[0]
        assert (reference.ReferencedSOPInstanceUID, reference.ReferencedSegmentNumber) == (seg.SOPInstanceUID, number)
        assert "ReferencedFrameNumber" not in reference, "PS3.3 table 10-3: only where no segment is named"


def test_a_report_of_an_image_without_scores_has_its_reason_and_no_number() -> None:
    made = read(make_sr(read_header(radiograph()), failed(), NAMING, with_seg=False))
    said = texts(made)
    assert "Status of the image and reason code=failed: truncated" in said
    assert not any(line.startswith(("Score", "Threshold", "Comment=Not flagged")) for line in said)


def test_a_review_has_the_answers_of_the_reader() -> None:
    made = read(make_review(read_header(radiograph()), result(), NAMING, REVIEW))
    said = texts(made)
    assert "Verdict of the reader=abnormal" in said
    severity = "right upper 0, right middle 1, right lower 2, left upper 3, left lower 0"
    assert f"Severity of each lung zone, 0 to 3; sides are the patient's={severity}" in said
    assert "Person Observer Name=R7" in said
    assert not any(line.startswith("Score") for line in said)
    unread = texts(read(make_review(read_header(radiograph()), result(), NAMING, REVIEW | {"zones": [None] * 6})))
    assert not any(line.startswith("Severity") for line in unread)


def test_only_verdicts_that_count_become_reports() -> None:
    """The highest revision of each reader, in whatever order the rows are; one taken back is none."""
    rows = [
        {"image_id": "a", "reader": reader, "revision": revision, "verdict": verdict}
        for reader, revision, verdict in (
            ("ben", 2, "withdrawn"), ("anna", 2, "normal"), ("anna", 1, "abnormal"), ("ben", 1, "normal"),
            ("dora", None, "cannot_tell"),
        )
    ]  # fmt: skip
    assert {(row["reader"], row["verdict"]) for row in that_count(rows)} == {
        ("anna", "normal"), ("dora", "cannot_tell"),
    }  # fmt: skip


def test_masks_that_are_not_there_and_another_file_are_refused() -> None:
    header = read_header(radiograph())
    for make in (make_seg, make_gsps):
        with pytest.raises(DecodeError) as caught:
            make(header, failed(), NAMING)
        assert caught.value.reason is Reason.NO_PIXELS
        with pytest.raises(DecodeError, match="had 201 x 160 pixels, the file now has 200 x 160"):
            make(header, result(201, 160), NAMING)


def test_outlines_lie_on_the_edges_of_pixels() -> None:
    """A mask of frame pixels 2..5 of 8, on an original of 80 px: from 20 to 60, corners cut by half a frame pixel."""
    mask_HW = np.zeros((8, 8), bool)
    mask_HW[2:6, 2:6] = True
    (line,) = outlines(mask_HW, FrameMap("stretch", 0, 0, 0.1, 0.1), 80, 80)
    assert line.min() == pytest.approx(20)
    assert line.max() == pytest.approx(60)
    np.testing.assert_allclose(line[0], line[-1], err_msg="closed")
    (whole,) = outlines(np.ones((8, 8), bool), FrameMap("stretch", 0, 0, 0.1, 0.1), 80, 80)
    assert (whole.min(), whole.max()) == (0, 80), "what touches the border is closed there"


def test_the_overlay_hides_nothing_and_says_what_it_is() -> None:
    one, pixels_HW = result(), np.full((200, 160), 100, np.uint8)
    picture = draw(pixels_HW, one)
    assert picture.shape[0] > 512
    changed = (picture[:512, :410] != 100).any(axis=2)
    inside = one.original_mask("lung", 200, 160) | one.original_mask("disease", 200, 160)
    assert 0 < changed.mean() <= inside.mean()
    made = read(MAKERS["sc"](radiograph(), one, NAMING))
    assert (made.BurnedInAnnotation, made.Modality, made.PhotometricInterpretation) == ("YES", "OT", "RGB")


def test_codes_are_those_of_the_standard() -> None:
    """As pydicom has them from PS3.16."""
    known = {
        (code.value, code.scheme_designator, code.meaning.lower())
        for table in (codes.SCT, codes.DCM, codes.UCUM, codes.LN)
        for code in (getattr(table, name) for name in table.dir())
    }
    standard = [one for one in vars(concepts).values() if isinstance(one, Concept) and one.scheme != concepts.SCHEME]
    assert len(standard) > 10
    for concept in standard:
        assert (concept.value, concept.scheme, concept.meaning.lower()) in known, concept


def test_a_servers_words_are_stripped_of_the_patient() -> None:
    header = read_header(radiograph())
    words = f"cannot store {CANARIES[0].upper()}^Jörg ({CANARIES[1]}), accession {CANARIES[2]}: disk full"
    clean = without_identity(words, header)
    assert clean.endswith("disk full")
    for canary in (*CANARIES, "Jörg"):
        assert canary.lower() not in clean.lower()


def test_headers_that_break_their_format_are_blank_in_the_objects() -> None:
    source = read(radiograph())
    buffer = BytesIO()
    with decoder_guard():  # which is silent, as pydicom is not about such values
        source.PatientSex, source.PatientAge, source.StudyDate = "unknown", "62", "11/1/2026"
        source.save_as(buffer, enforce_file_format=True)
    made = read(make_seg(read_header(buffer.getvalue()), result(), NAMING))
    assert (made.PatientSex, made.StudyDate, made.get("PatientAge") or "") == ("", "", "")


@pytest.mark.parametrize(("form", "program"), [("sr", "dsrdump"), ("gsps", "dcmpschk"), ("seg", "dcmftest")])
def test_dcmtk_reads_them_without_an_error(form: str, program: str, tmp_path: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip("no dcmtk here: run .ci/packages")
    (tmp_path / "made.dcm").write_bytes(MAKERS[form](radiograph(), result(), NAMING))
    done = subprocess.run([program, str(tmp_path / "made.dcm")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert not [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("E:", "F:"))], done


@pytest.mark.parametrize("form", [*MAKERS, "review"])
@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_the_standards_modules_are_whole(form: str, modality: Any, tmp_path: Path) -> None:
    """By dciodvfy of dicom3tools, which checks every attribute of an object against the tables of PS3.3."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy here: run .ci/packages (Debian: dicom3tools)")
    data = radiograph(modality=modality)
    made = MAKERS[form](data, result(), NAMING) if form in MAKERS else None
    (tmp_path / "made.dcm").write_bytes(made or make_review(read_header(data), result(), NAMING, REVIEW))
    done = subprocess.run(["dciodvfy", "-new", str(tmp_path / "made.dcm")], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert any(
        line in ("Segmentation", "ComprehensiveSR", "SCImage", "GrayscaleSoftcopyPresentationState") for line in said
    )
    assert not [line for line in said if line.startswith("Error")], said
