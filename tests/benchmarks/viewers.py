"""A SEG and a GSPS as other people's viewers draw them: pictures to look at, beside the overlay of the export.

    npm pack @ohif/app && tar xzf ohif-app-*.tgz          # the viewer OHIF, prebuilt (MIT); it is no part of comit-ray
    python -m tests.benchmarks.viewers package/dist OUTPUT

OHIF runs in headless Chromium before a real Orthanc, both on this machine, and is opened by the link that
`review --viewer` makes. It is served from one address with the PACS, as a site would have it behind its proxy.

OHIF 3.13.2 asks every SEG for the orientation of its planes (`checkOrientation` of @cornerstonejs/adapters). A
projection has none, and none is made up in the object. The proxy adds one to the metadata on their way, so that the
frames can be seen; `--plain` leaves it out, and OHIF says that the segmentation failed to load.
"""

import json
import sys
import tempfile
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from selenium.webdriver.common.by import By

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.frame import to_frame
from comit_ray.data.images.load import decode
from comit_ray.data.masks.masks import to_png
from comit_ray.data.phantom import phantom_drawing
from comit_ray.dicom.gsps import make_gsps
from comit_ray.dicom.result import make_result
from comit_ray.dicom.secondary_capture import make_secondary_capture
from comit_ray.dicom.seg import make_seg
from comit_ray.dicom.source import read_header
from comit_ray.storage import web
from tests.dicom.orthanc import Orthanc
from tests.dicom.support import NAMING, masks, prediction, radiograph, read
from tests.reading.browsers import chromium, until

HEIGHT, WIDTH, FRAME = 800, 720, 224
SHARED = "52009229"
"""Tag of SharedFunctionalGroupsSequence."""
ORIENTATION = {"00209116": {"vr": "SQ", "Value": [{"00200037": {"vr": "DS", "Value": [1, 0, 0, 0, 1, 0]}}]}}
"""A plane's orientation, as OHIF assumes it of a radiograph."""
CONFIG = """
window.config = { routerBasename: "/", extensions: [], modes: [], showStudyList: false,
  showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false,
  investigationalUseDialog: { option: "never" }, defaultDataSourceName: "pacs",
  dataSources: [{ namespace: "@ohif/extension-default.dataSourcesModule.dicomweb", sourceName: "pacs", configuration: {
    friendlyName: "pacs", name: "pacs", wadoUriRoot: "/dicom-web", qidoRoot: "/dicom-web", wadoRoot: "/dicom-web",
    qidoSupportsIncludeField: false, imageRendering: "wadors", thumbnailRendering: "wadors", enableStudyLazyLoad: true,
    supportsFuzzyMatching: false, supportsWildcard: true, bulkDataURI: { enabled: true } } }] };
"""


def objects() -> dict[str, bytes]:
    """A phantom's file, and the objects of a result that found its lungs and its disease exactly."""
    drawn = phantom_drawing.draw(0, phantom_drawing.PhantomKind.COVID, size=(HEIGHT, WIDTH))
    file, buffer = read(radiograph(size=(HEIGHT, WIDTH))), BytesIO()
    file.ImagerPixelSpacing = [0.4, 0.4]  # as every detector says it, and phantoms do not; OHIF wants it
    file.save_as(buffer, enforce_file_format=True)
    data = buffer.getvalue()
    frame = FrameConfig(size=FRAME, fit="letterbox")
    row = masks(HEIGHT, WIDTH, frame=frame)
    for name, mask_HW in (("lung_png", drawn.lung_HW), ("disease_png", drawn.disease_HW)):
        row[name] = to_png(to_frame(mask_HW.astype(np.uint8) * 255, frame) > 127)
    result = make_result(prediction(height=HEIGHT, width=WIDTH), row, {"covid": 0.41})
    header = read_header(data)
    return {
        "source": data,
        "seg": make_seg(header, result, NAMING),
        "gsps": make_gsps(header, result, NAMING),
        "sc": make_secondary_capture(header, decode(data, DecodeLimits()), result, NAMING),
    }


def oriented(metadata: bytes) -> bytes:
    """DICOM JSON with an orientation where there are functional groups."""
    found = json.loads(metadata)
    for one in found:
        for group in one.get(SHARED, {}).get("Value", []):
            group.update(ORIENTATION)
    return json.dumps(found).encode()


def serve(dist: Path, pacs: str, plain: bool) -> ThreadingHTTPServer:
    """The viewer and the PACS at one address."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(dist))

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/dicom-web"):
                asked = Request(
                    pacs + self.path[len("/dicom-web") :], headers={"Accept": self.headers.get("Accept", "*/*")}
                )
                try:
                    with urlopen(asked, timeout=60) as answer:
                        body = answer.read()
                        if path.endswith("/metadata") and not plain:
                            body = oriented(body)
                        self.answer(answer.status, answer.headers.get("Content-Type", ""), body)
                except HTTPError as error:
                    self.answer(error.code, "text/plain", error.read())
            elif path == "/app-config.js":
                self.answer(200, "text/javascript", CONFIG.encode())
            elif not (dist / path.lstrip("/")).is_file():
                self.answer(200, "text/html", (dist / "index.html").read_bytes())
            else:
                super().do_GET()

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def end_headers(self) -> None:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main(dist: Path, output: Path, plain: bool) -> None:
    """Store the objects, open the viewer by its link, load the SEG, and write what is seen."""
    output.mkdir(parents=True, exist_ok=True)
    made = objects()
    for name, data in made.items():
        (output / f"{name}.dcm").write_bytes(data)
    with tempfile.TemporaryDirectory() as directory:
        pacs = Orthanc(Path(directory) / "orthanc", authenticate=False)
        pacs.start()
        try:
            for name in ("source", "seg"):
                pacs.put(made[name])
            server = serve(dist, pacs.root, plain)
            source = read(made["source"])
            place = web.instance_path(source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID)
            template = f"http://127.0.0.1:{server.server_port}/viewer?StudyInstanceUIDs={{study}}"
            link = web.viewer_link(template, f"{pacs.root}/{place}")
            with chromium(Path(directory) / "profile") as browser:
                browser.get(str(link))
                until(browser, "document.querySelector('canvas') !== null", 240)
                time.sleep(10)
                for one in browser.find_elements(By.XPATH, "//*[text()='Skip all']"):
                    one.click()
                time.sleep(3)
                browser.save_screenshot(str(output / "ohif_source.png"))
                for one in browser.find_elements(By.CSS_SELECTOR, "[data-cy^='study-browser-thumbnail-no-image']"):
                    browser.execute_script(
                        "arguments[0].dispatchEvent(new MouseEvent('dblclick', {bubbles: true, cancelable: true}))", one
                    )
                time.sleep(20)
                browser.save_screenshot(str(output / "ohif_seg.png"))
                (output / "ohif_log.txt").write_text("\n".join(str(one) for one in browser.get_log("browser")))
            server.shutdown()
        finally:
            pacs.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--plain" in sys.argv)
