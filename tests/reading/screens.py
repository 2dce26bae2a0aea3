"""A small screened archive of phantoms with a queue, and a reading room that serves it: what tests of the page need."""

import http.client
import io
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import uvicorn
from PIL import Image

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.config.queue_config import QueueConfig
from comit_ray.config.reading_config import ReviewConfig
from comit_ray.data.images.frame import frame_map, to_frame
from comit_ray.data.images.load import decode
from comit_ray.data.masks.masks import to_png
from comit_ray.data.phantom import phantom_drawing
from comit_ray.data.phantom.phantom_drawing import Phantom, PhantomKind
from comit_ray.errors import DecodeError
from comit_ray.reading import access, cases, reader_deal, serve
from comit_ray.reading.reader_deal import Deal
from comit_ray.reading.room import Room
from comit_ray.reading.server import Server
from comit_ray.screening import results_folder
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import GRADCAM, MASKS, PREDICTIONS
from tests.data.dicom_files import dicom
from tests.screened import screen_here
from tests.support import manifest_row, prediction_row, write_checkpoint

SIZE = (480, 400)
FRAME = 64
PART = "a-00000-0123456789ab.parquet"
POINT = OperatingPoint("specificity_0.90", {"covid": 0.5, "unhealthy": 0.5})
REAL_POINT = OperatingPoint("specificity_0.90", {"covid": 0.32, "unhealthy": 0.5})
"""About half of the real radiographs score above it with the network of `write_real_screen`."""


@cache
def draw(seed: int, kind: PhantomKind) -> Phantom:
    """A small phantom; drawing one takes longer than all the rest."""
    return phantom_drawing.draw(seed, kind, size=SIZE)


def png(pixels_HW: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels_HW).save(buffer, "PNG")
    return buffer.getvalue()


def as_dicom(pixels_HW: np.ndarray, *, white_is_low: bool = False) -> bytes:
    """A radiograph of 8 bits as a DICOM file of 12, with two windows and its sides.

    Args:
        pixels_HW: as shown.
        white_is_low: MONOCHROME1 with a rescale and padding at the left border, as some devices write it.
    """
    stored = pixels_HW.astype(np.int64) * 16 + np.arange(pixels_HW.shape[1]) % 7
    header: dict[str, Any] = {
        "WindowCenter": [2048, 1024],
        "WindowWidth": [4096, 2048],
        "PatientOrientation": ["L", "F"],
    }
    if white_is_low:
        stored = 4095 - stored
        stored[:, :9] = 4095
        header |= {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 4095}
        header |= {"RescaleSlope": 1.5, "RescaleIntercept": -100, "WindowCenter": 2900, "WindowWidth": 6000}
    return dicom(stored, **header)


def write_screen(root: Path, images: int = 12, uri: str | None = None, **queue: Any) -> tuple[str, str]:
    """Results and manifest: a third diseased; half DICOM of 12 bits, half PNG; two images a patient; one truncated.

    All random negatives are drawn, so that the queue holds every image.

    Args:
        root: where the images lie.
        images: how many.
        uri: where results and manifest lie, if not there too.
        queue: options of the queue.
    """
    where = uri or str(root)
    frame = FrameConfig(size=FRAME)
    manifest, predictions, masks, heat = [], [], [], []
    for number in range(images):
        kind = (PhantomKind.COVID, PhantomKind.HEALTHY, PhantomKind.OTHER)[number % 3]
        drawn = draw(number // 2, kind)
        is_dicom = number % 2 == 0
        name = f"{number:03d}.{'dcm' if is_dicom else 'png'}"
        data = as_dicom(drawn.pixels_HW, white_is_low=number % 4 == 2) if is_dicom else png(drawn.pixels_HW)
        broken = number == images - 1
        storage.write_bytes(storage.join(where, "images", name), data[: len(data) // 2] if broken else data)
        image_id = f"a/{name}"
        manifest.append(
            manifest_row(
                image_id, uri=storage.join(where, "images", name), patient_id=f"a/p{number // 2}", site="north",
                study_id=f"a/s{number}", sex=drawn.sex, age=float(drawn.age), acquired_on=date(2020, 3, 1 + number % 2),
                covid=int(kind is PhantomKind.COVID), unhealthy=int(kind is not PhantomKind.HEALTHY), view=drawn.view,
                chunk="a-00000",
            )
        )  # fmt: skip
        score = {PhantomKind.COVID: 0.9, PhantomKind.HEALTHY: 0.05, PhantomKind.OTHER: 0.2}[kind]
        more: dict[str, Any] = {
            "lung_area": 0.3,
            "disease_area": 0.1,
            "disease_in_lung": 0.2,
            "zone_disease": [0.1] * 6,
        }
        more |= {"unhealthy_flag": kind is not PhantomKind.HEALTHY, "p_unhealthy": 0.5 + score / 3}
        row = prediction_row(image_id, None) if broken else prediction_row(image_id, score, **more)
        predictions.append(row)
        if not broken:
            place = frame_map(*SIZE, frame)
            mask = {"image_id": image_id, "frame_height": FRAME, "frame_width": FRAME, "fit": place.fit}
            mask |= {"original_top": place.top, "original_left": place.left}
            mask |= {"rows_per_pixel": place.rows_per_pixel, "columns_per_pixel": place.columns_per_pixel}
            small = [to_frame(one.astype(np.uint8) * 255, frame) > 127 for one in (drawn.lung_HW, drawn.disease_HW)]
            masks.append(mask | {"lung_png": to_png(small[0]), "disease_png": to_png(small[1])})
            across = np.linspace(-2, 3, FRAME)
            blob = (255 * np.exp(-(across[:, None] ** 2) - across[None, :] ** 2)).astype(np.uint8)
            heat.append({"image_id": image_id, "covid_png": png(blob)})
    for name, rows, schema in (
        ("results/predictions", predictions, PREDICTIONS), ("results/masks", masks, MASKS),
        ("results/gradcam", heat, GRADCAM), ("manifest", manifest, MANIFEST),
    ):  # fmt: skip
        parquet.write_table(storage.join(where, name, PART), pa.Table.from_pylist(rows, schema=schema))
    results, manifest_uri = storage.join(where, "results"), storage.join(where, "manifest")
    write_queue(results, manifest_uri, **queue)
    write_record(results, manifest_uri)
    return results, manifest_uri


def write_real_screen(cxr: Path, root: Path, images: int) -> str:
    """Real radiographs screened by a small network, which is not trained; every image is in the queue.

    Args:
        cxr: of the real radiographs: DICOM files, PNGs of NIH, JPEGs of Figure 1.
        root: to write to.
        images: how many.

    Returns:
        URI of the results.
    """
    dicom = [file for file in sorted((cxr / "dicom").rglob("*.dcm")) if is_shown(file)]
    jpeg = [file for file in sorted((cxr / "figure1_covid" / "images").glob("*.jpg")) if is_shown(file)][:8]
    files = [*dicom, *jpeg, *sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))][:images]
    rows = [manifest_row(f"real/{file.name}", uri=str(file)) for file in files]
    assert len({row["image_id"] for row in rows}) == images
    manifest = str(root / "manifest")
    rows.sort(key=lambda row: row["image_id"])
    parquet.write_table(str(root / "manifest" / PART), pa.Table.from_pylist(rows, schema=MANIFEST))
    network = write_checkpoint(root / "checkpoint")
    results = screen_here(manifest, network, str(root / "results"), REAL_POINT, {"manifest": manifest})
    write_queue(results, manifest, REAL_POINT)
    return results


def is_shown(file: Path) -> bool:
    """Whether it is a frontal chest radiograph that can be decoded."""
    try:
        decode(file.read_bytes(), DecodeLimits())
    except DecodeError:
        return False
    return True


def write_record(results: str, manifest: str) -> None:
    """The run.json of a screen."""
    point = {"name": POINT.name, "thresholds": POINT.thresholds}
    record = {"run_id": "r", "question": {"operating_point": point}, "settings": {"manifest": manifest}}
    storage.write_bytes(storage.join(results, "run.json"), json.dumps(record).encode())


def write_queue(results: str, manifest: str, point: OperatingPoint = POINT, **queue: Any) -> None:
    """The review queue of a screen's tables; by default all random negatives are in it."""
    options = QueueConfig(**({"random_negatives": 1.0, "quotas": {}} | queue))
    results_folder.write_queue(results, manifest, options, point)


class Client:
    """A reader's browser without the browser.

    Args:
        port: of the server on this machine.
        token: of the reader; None: somebody who has none.
        cookie: name of the cookie.
    """

    def __init__(self, port: int, token: str | None = None, cookie: str = "") -> None:
        self.port, self.token, self.cookie = port, token, cookie

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; with a body a POST of this server's own page."""
        sent = (
            {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"} if body is not None else {}
        )
        if self.token is not None:
            sent["Cookie"] = f"{self.cookie}={self.token}"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            data = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, data, sent)
            response = connection.getresponse()
            return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def json(self, path: str, body: Any = None) -> Any:
        """The answer, which must be a good one."""
        status, _, data = self.ask(path, body)
        assert status == 200, (status, data)
        return json.loads(data)

    def judge(self, image_id: str, verdict: str = "abnormal", **more: Any) -> dict[str, Any]:
        """Give a verdict."""
        said = {"image_id": image_id, "verdict": verdict, "submission": uuid.uuid4().hex, "seconds": 3.5}
        return dict(self.json("/api/verdict", said | more))


@contextmanager
def serving(results: str, **options: Any) -> Iterator[tuple[Room, int]]:
    """A reading room in a thread of this process, and its port."""
    config = ReviewConfig(results=results, port=0, **options)
    people = reader_deal.read_file(config.readers) if config.readers else None
    room = Room(cases.load(results, config.manifest, config.blind), Deal(people, config.double), config)
    listener = serve.bind(config)
    server = uvicorn.Server(uvicorn.Config(Server(room).app(), log_level="warning", proxy_headers=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield room, listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def client(results: str, port: int, reader: str = "anna") -> Client:
    """A reader who has opened their link."""
    return Client(port, access.invite(results, reader, 30), access.cookie_name(results))
