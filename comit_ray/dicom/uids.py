"""UIDs by hash: the same result of the same image gets the same UID on any machine.

A PACS that is sent an instance again keeps one of them, so that an export may be repeated without adding anything. The
root is 2.25, of UIDs made from UUIDs (PS3.5, annex B.2): it needs no registration, and others use it too. What is ours
is therefore told by the table `exports/`, which lists every instance, or by the series' description.
"""

import uuid

ROOT = "2.25"
_NAMESPACE = uuid.UUID("8f0e4c7e-52b0-5c35-9a53-6d0c3f5f4a11")
"""Chosen once, at random; another one would give every result a second UID."""

CONTENT_VERSION = "2"
"""Goes into every UID: a UID stands for one content, so code that changes what an object holds must change this."""


def uid(kind: str, *names: str) -> str:
    """A UID of at most 44 characters that depends on all arguments alone (UUID version 5, RFC 9562).

    Args:
        kind: of what: `study`, `series`, `instance`, `device`.
        names: what tells it from others of its kind, such as the source's SOP instance UID, the model and the run.
    """
    return f"{ROOT}.{uuid.uuid5(_NAMESPACE, json_text([CONTENT_VERSION, kind, *names])).int}"


def json_text(names: list[str]) -> str:
    """The names as one text, so that no two lists of names give the same."""
    return "".join(f"{len(name)}:{name}" for name in names)
