"""Times each stage of a screen on one core, image by image, and the predictor by batches."""

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pyarrow as pa
import pydicom

from comit_ray.chunks import plan
from comit_ray.chunks.plan import BARE, DECODE, FETCH, MEASURE, PREDICT, WRITE, Layout
from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.dicom_file import looks_like_dicom
from comit_ray.data.images.load import Place, known_exclusion, wanted
from comit_ray.data.images.raster import JPEG_SIGNATURE, PNG_SIGNATURE
from comit_ray.errors import DecodeError, Status
from comit_ray.inference.model import load_model
from comit_ray.screening.fetch import fetch_row, frames_of, to_table
from comit_ray.screening.mask_tables import finish
from comit_ray.screening.predictor import Predictor
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader

OTHER = "bare model by"
"""Start of the name of the stage for another backend, which no screen here uses."""


@dataclass(frozen=True)
class Stage:
    """One stage, measured alone.

    Args:
        name: fetch, decode, predict, measure, write, or the bare model loop.
        kind: file format that was decoded; empty for other stages.
        images: number of images.
        seconds: duration.
        size: bytes read, decoded (as stored) or written; 0 if not counted.
    """

    name: str
    kind: str
    images: int
    seconds: float
    size: int = 0


class Stopwatches:
    """Images, seconds and bytes of every stage and kind."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0])

    @contextmanager
    def timed(self, name: str, kind: str = "", images: int = 1, size: int = 0) -> Iterator[None]:
        """Adds the duration of the block."""
        began = perf_counter()
        yield
        self.add(name, kind, images, perf_counter() - began, size)

    def add(self, name: str, kind: str, images: int, seconds: float, size: int) -> None:
        """Adds a duration that was measured elsewhere."""
        found = self._found[name, kind]
        for at, amount in enumerate((images, seconds, size)):
            found[at] += amount

    @property
    def stages(self) -> list[Stage]:
        """The stages, in the order in which they began."""
        return [
            Stage(name, kind, int(images), seconds, int(size))
            for (name, kind), (images, seconds, size) in self._found.items()
        ]


def read(rows: Sequence[Mapping[str, Any]], frame: FrameConfig, limits: DecodeLimits) -> tuple[list[Stage], pa.Table]:
    """Fetches and decodes one image after the other; also returns the fetched rows of those that succeeded.

    Args:
        rows: rows of the manifest. Excluded rows are skipped; rows that cannot be read count in the stage where they
            end.
        frame: the frame of the model.
        limits: limits for images.
    """
    watches = Stopwatches()
    found = _fetched(rows, frame, limits, watches)
    return watches.stages, to_table(found, frame)


def predict(
    fetched: pa.Table, chunk_rows: int, load: Callable[[], Predictor]
) -> tuple[list[Stage], list[dict[str, pa.Table]]]:
    """Times a predictor and the bare model loop; also returns the tables of every chunk.

    Args:
        fetched: rows as the reader returns them, all ok.
        chunk_rows: images per chunk.
        load: creates the predictor on the device of this process; on a CPU with one thread, like an actor with one CPU.
    """
    if not len(fetched):
        return [], []
    predictor = load()
    watches = Stopwatches()
    predictor.predict(fetched.slice(0, predictor.model.batch_size))  # the first pass is slower than all others
    found = []
    for start in range(0, len(fetched), chunk_rows):
        part = fetched.slice(start, chunk_rows)
        packed = plan.pack("alone", {"fetched": part})
        with watches.timed(PREDICT, images=len(part)):
            done = predictor(packed)
        found.append(plan.unpack(done)[1])
    frames_BHW = frames_of(fetched)
    with watches.timed(BARE, images=len(frames_BHW)):  # only the network, on the same frames in memory
        predictor.model.embed(frames_BHW)
    predictor.close()
    return watches.stages, found


def bare_networks(
    fetched: pa.Table,
    uri: str,
    models: Sequence[tuple[str, str]],
    batch_size: int,
    device: str,
    threads: int | None,
) -> list[Stage]:
    """Times the bare networks of other backends on the same frames in memory, beside the one that a screen would use.

    Args:
        fetched: rows as the reader returns them, all ok.
        uri: URI of the checkpoint.
        models: backend and precision of each network.
        batch_size: images in a forward pass.
        device: `cpu` or `cuda`.
        threads: number of threads; None: the library's choice.
    """
    watches = Stopwatches()
    frames_BHW = frames_of(fetched)
    for backend, precision in models if len(fetched) else ():
        with load_model(uri, backend, device, batch_size, threads=threads, precision=precision) as model:
            model.embed(frames_BHW[:batch_size])
            with watches.timed(f"{OTHER} {backend} {precision}", images=len(frames_BHW)):
                model.embed(frames_BHW)
    return watches.stages


def write(predicted: Sequence[Mapping[str, pa.Table]], output: str, layout: Layout) -> list[Stage]:
    """Times the measuring of masks and the writing of chunks.

    Args:
        predicted: tables of every chunk.
        output: URI of a directory to write to.
        layout: layout of the tables.

    Raises:
        StorageError: the tables cannot be written.
    """
    watches = Stopwatches()
    for number, part in enumerate(predicted):
        images = len(part[layout.main])
        with watches.timed(MEASURE, images=images):
            tables = finish(part)
        with watches.timed(WRITE, images=images):
            plan.commit(output, f"stage-{number:05d}.parquet", tables, layout)
    return watches.stages


def written_bytes(output: str, tables: Sequence[str]) -> int:
    """Returns the number of bytes in the Parquet files of `tables` below `output`."""
    return sum(entry.size for name in tables for entry in storage.list_files(storage.join(output, name), ".parquet"))


def _fetched(
    rows: Sequence[Mapping[str, Any]], frame: FrameConfig, limits: DecodeLimits, watches: Stopwatches
) -> list[dict[str, Any]]:
    wanted_rows = [dict(row) for row in rows if known_exclusion(row) is None]
    found = []
    with FileReader(limits.max_bytes, wanted([Place.of(row) for row in wanted_rows])) as reader:
        for row in wanted_rows:
            began = perf_counter()
            try:
                data = reader.read(Place.of(row).file)
            except DecodeError:
                continue  # the screen itself records the reason
            watches.add(FETCH, "", 1, perf_counter() - began, len(data))
            held = _Held(limits.max_bytes, data, reader)
            with watches.timed(DECODE, _format(data), size=len(data)):
                result = fetch_row(row, held, frame, limits)
            if result["status"] == Status.OK:
                found.append(result)
    return found


class _Held(FileReader):
    """A reader that already has the file, so that decoding is timed alone."""

    def __init__(self, max_bytes: int, data: bytes, behind: FileReader) -> None:
        super().__init__(max_bytes)
        self._data, self._behind, self._given = data, behind, False

    def read(self, ref: Any, at_most: int | None = None) -> bytes:
        """Returns the held file first; then, for a sidecar, what the other reader returns."""
        if not self._given:
            self._given = True
            return self._data
        return self._behind.read(ref, at_most)


def _format(data: bytes) -> str:
    """Returns PNG, JPEG, or DICOM with the name of its transfer syntax."""
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    if data.startswith(JPEG_SIGNATURE):
        return "JPEG"
    if not looks_like_dicom(data):
        return "other"
    try:
        meta = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True).file_meta
        return f"DICOM {meta.TransferSyntaxUID.name}"
    except (AttributeError, ValueError, OSError, pydicom.errors.InvalidDicomError):
        return "DICOM, transfer syntax not known"
