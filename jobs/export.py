"""Send results of a screen to where they are read, as DICOM objects: to a PACS by DICOMweb, or into a directory.

Run the same command again after any interruption: what is stored is not stored twice.
"""

from comit_ray import cli
from comit_ray.dicom import run
from comit_ray.dicom.settings import ExportConfig


def job(config: ExportConfig) -> int:
    """Exit status 0 only if every object is stored."""
    return run.run(config)


if __name__ == "__main__":
    cli.run(job, ExportConfig, __doc__ or "")
