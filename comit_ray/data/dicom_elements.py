"""Elements of a DICOM data set as plain text: absent, blank and unreadable ones are all the same, nothing."""

from pydicom.dataset import Dataset


def texts(elements: Dataset, keyword: str) -> list[str]:
    """The values of an element as text; none if it is absent or cannot be read."""
    try:
        value = elements.get(keyword)
        values = [] if value is None else [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
        return [str(one).strip().strip("\0") for one in values if str(one).strip()]
    except Exception:  # noqa: BLE001 pydicom converts lazily and raises anything; one bad tag makes no bad radiograph
        return []


def text(elements: Dataset, keyword: str) -> str:
    """The first value of an element as text, or an empty string."""
    values = texts(elements, keyword)
    return values[0] if values else ""


def code_meaning(elements: Dataset, keyword: str) -> str:
    """CodeMeaning of the first item of a code sequence, or an empty string."""
    try:
        items = elements.get(keyword)
        return text(items[0], "CodeMeaning") if items else ""
    except Exception:  # noqa: BLE001 as in `texts`
        return ""
