"""Export results of a screen as DICOM objects, to a PACS (DICOMweb) or into a directory."""

from comit_ray import cli
from comit_ray.command.jobs import export as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
