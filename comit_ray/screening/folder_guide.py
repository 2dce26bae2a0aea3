"""Writes README.txt of a results folder: which file to open first, and what its columns mean, one line each.

People often get the folder alone, without this program and its documentation. The text is the same for every screen, so
it says nothing of the images. `docs/tables.md` says more.
"""

from comit_ray.errors import NotFoundError
from comit_ray.storage import storage

FILE = "README.txt"
COLUMNS = {
    "rank": "place in the queue, from 1",
    "block": "the part of the queue that the image is in, and how that part is ordered; scores and ranks of two blocks "
    "are not comparable",
    "placed_by": "the block as a code",
    "why": "why the image is in this list, in words: in queue.csv the words of `reasons`, in unread.csv of `reason`",
    "reasons": "queue only: why a reader should look at the image, as codes, the most urgent first",
    "reason": "why the image has no score, as a code; null if it has one. In unread.csv also beyond_capacity",
    "detail": "`reason` in one sentence, with what was found in this file",
    "score": "the COVID-19 score, 0 to 1; of a network without one, the unhealthy score. It is no probability",
    "times_threshold": "the COVID-19 score divided by its threshold; 1 or more is flagged for COVID-19",
    "covid_flag": "true: flagged for COVID-19. Empty: not judged. False does not mean normal",
    "flag_trusted": "false: the images do not look like the training data, so do not rely on flags. true: no "
    "difference was shown, or the site chose its thresholds. It does not mean that flags are right",
    "severity": "size of the disease that the model itself outlines, as a score from 0 to 18. It follows what "
    "radiologists see only weakly",
    "sampling_weight": "images that this one stands for; above 1 only in a random sample",
    "split": "in images/: part of a training that the image belongs to; null where nobody trains on it",
}
"""Column -> its meaning in one line. Each name has this one meaning in every table of the folder."""


def text() -> str:
    """Returns the whole text; lines have at most 100 characters."""
    return "\n".join([*_HEAD, *(line for item in COLUMNS.items() for line in _item(*item)), ""])


def write(output: str) -> None:
    """Writes the file below `output`, a URI, unless it is there already.

    Raises:
        StorageError: it cannot be written.
    """
    uri = storage.join(output, FILE)
    try:
        if storage.read_bytes(uri) == text().encode():
            return
    except NotFoundError:
        pass  # the first run of this output
    storage.write_bytes(uri, text().encode())


_HEAD = """\
What is in this folder
======================

Research software: not for diagnosis. Not flagged is not normal.

queue.csv       images to read that nobody has read yet, in the order of reading, in blocks
unread.csv      images that have no score, or for which the queue is full; `queued` says which of them
                the queue has all the same
skipped.csv     files that are no images (only of a screen of a folder)
predictions/    one row for every image: status, reason, scores, flags
images/         the same images: dataset, patient, study, site, device, date, view, path
masks/          outlines of lungs and disease, as the network drew them on a small image
review_queue/, unread/    the two lists as Parquet, with images that were read
run.json        settings, thresholds, start and end
drift.json      whether the images look like the training data

manifest/, listing/, events/, readers/, asked/, lease and *.json are records of the program.

The share of flagged images is not the share of patients with COVID-19.

Paths may name a diagnosis (a folder called "covid"), and queue.csv has paths. A radiologist
should see no path before reading: `comit-ray review --results FOLDER` shows the images without.

Columns that are easily mistaken
--------------------------------
""".splitlines()


def _item(name: str, meaning: str) -> list[str]:
    """The name of a column, and its meaning in lines that begin below each other."""
    lines, width = [""], 82
    for word in meaning.split():
        longer = f"{lines[-1]} {word}".strip()
        if len(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [f"{name if number == 0 else '':<16}  {line}" for number, line in enumerate(lines)]
