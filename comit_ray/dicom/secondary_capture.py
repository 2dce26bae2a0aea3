"""The overlay as a Secondary Capture (PS3.3 A.8): for viewers that draw neither a SEG nor a presentation state.

It is also all that a PNG or JPEG can have: without a DICOM header it belongs to no patient, and its study is its own.
"""

from pydicom.dataset import Dataset

from comit_ray.data.images.radiograph import Radiograph, library_edge
from comit_ray.dicom.overlay import draw
from comit_ray.dicom.result import Naming, Result, common, to_bytes


def make_secondary_capture(header: Dataset, radiograph: Radiograph, result: Result, naming: Naming) -> bytes:
    """The file of a Secondary Capture in RGB, uncompressed.

    Args:
        header: of the source; `comit_ray.dicom.source.blank_header` for a PNG or JPEG.
        radiograph: the source's pixels.
        result: of the image.
        naming: of the series.

    Raises:
        DecodeError: `bad_geometry` if the source is not what was screened.
    """
    result.checked_size(radiograph.height, radiograph.width)
    picture_HW3 = draw(radiograph.pixels_HW, result)
    with library_edge():
        from highdicom.sc import SCImage

        made = SCImage(
            pixel_array=picture_HW3,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            study_instance_uid=header.StudyInstanceUID,
            patient_id=header.PatientID,
            patient_name=header.PatientName,
            patient_birth_date=header.PatientBirthDate,
            patient_sex=header.PatientSex or None,
            accession_number=header.AccessionNumber,
            study_id=header.StudyID,
            study_date=header.StudyDate or None,
            study_time=header.StudyTime or None,
            referring_physician_name=header.ReferringPhysicianName,
            patient_orientation=("L", "F"),  # highdicom wants one; what the source says replaces it below
            **common(header, result, naming, "sc"),
        )
        made["PatientOrientation"].value = header.get("PatientOrientation") or None
        made.ConversionType = "WSD"
        made.BurnedInAnnotation = "YES"  # of the model and its scores; none of the patient
        made["DateOfSecondaryCapture"].value = result.screened_at.strftime("%Y%m%d")
        made["TimeOfSecondaryCapture"].value = result.screened_at.strftime("%H%M%S")
        made.DerivationDescription = "Masks and scores of a model burnt in. Research, not for diagnosis"
        if "SOPClassUID" in header:
            reference = Dataset()
            reference.ReferencedSOPClassUID = header.SOPClassUID
            reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
            made.SourceImageSequence = [reference]
        return to_bytes(made, result.screened_at)
