"""Derives UIDs by hash: the same result of the same image gets the same UID on any machine.

A PACS that receives an instance twice keeps one of them. So a repeated export adds nothing. The root is 2.25, for UIDs
made from UUIDs (PS3.5, annex B.2). It needs no registration, and other software uses it too. So the root does not show
which instances are ours: the table `exports/` lists each, and the series' description names them.
"""

import uuid

ROOT = "2.25"
_NAMESPACE = uuid.UUID("8f0e4c7e-52b0-5c35-9a53-6d0c3f5f4a11")
"""Namespace of the UUIDs, chosen once at random. With another one, every result would get a second UID."""

CONTENT_VERSION = "2"
"""Part of every UID. A UID stands for one content, so a change of the content of objects must change this version."""


def uid(kind: str, *names: str) -> str:
    """Derive a UID of at most 44 characters from the arguments (UUID version 5, RFC 9562).

    Args:
        kind: kind of the thing that is named: `study`, `series`, `instance`, `device`.
        names: what tells it from others of its kind, such as the source's SOP instance UID, the model and the run.
    """
    return f"{ROOT}.{uuid.uuid5(_NAMESPACE, json_text([CONTENT_VERSION, kind, *names])).int}"


def json_text(names: list[str]) -> str:
    """Join the names into one text. Two different lists never give the same text."""
    return "".join(f"{len(name)}:{name}" for name in names)
