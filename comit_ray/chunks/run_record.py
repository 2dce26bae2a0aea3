"""`run.json`: the one question an output belongs to, written before any result; another question is refused."""

import json
from datetime import UTC, datetime
from typing import Any

from comit_ray.errors import ConfigError, NotFoundError, StorageError
from comit_ray.storage import storage
from comit_ray.work import provenance

FILE = "run.json"


def open_run(output: str, question: dict[str, Any], settings: dict[str, Any], main: str) -> str:
    """The id of the run in `output`: begins one, or goes on with the one that asks the same question.

    Args:
        output: URI of the results directory.
        question: what decides the results.
        settings: everything else that was asked, for the record.
        main: name of the output's main table.

    Raises:
        ConfigError: the directory holds the answers to another question; says which parts differ.
        StorageError: its record cannot be read.
    """
    uri = storage.join(output, FILE)
    question = json.loads(json.dumps(question))  # as it will be read back
    try:
        record = read(output)
    except NotFoundError:
        if storage.exists(storage.join(output, main)):
            raise ConfigError(
                f"{output} holds {main} but no {FILE}: it is not known what they answer; "
                "choose another --output, or remove that directory"
            ) from None
        run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        record = {"run_id": run_id, "question": question, "settings": settings}
        storage.write_bytes(uri, json.dumps(record, indent=2).encode())
        return run_id
    asked = record["question"]
    # What an older version did not know of was not asked for: absent, false and empty are one.
    differing = sorted(key for key in {*asked, *question} if (asked.get(key) or None) != (question.get(key) or None))
    if differing:
        changes = "; ".join(f"{key} was {asked.get(key)!r}, now {question.get(key)!r}" for key in differing)
        raise ConfigError(f"{output} belongs to another question ({changes}): choose another --output")
    return str(record["run_id"])


def sign(output: str, settings: dict[str, Any]) -> None:
    """Add this process to the record's `processes`: who works on the run, with which code and configuration.

    Of two processes that sign at the same moment one may be missing.

    Args:
        output: URI of a directory with a record, or of a training run, which has its question in files of its own.
        settings: the job's configuration, resolved.

    Raises:
        StorageError: the record cannot be read or written.
    """
    uri = storage.join(output, FILE)
    try:
        record = json.loads(storage.read_bytes(uri))
        earlier = [*record.get("processes", [])]
    except NotFoundError:
        record, earlier = {}, []
    except (ValueError, AttributeError, TypeError) as error:
        raise StorageError(f"{uri} is not the {FILE} of a run: {error!r}") from error
    processes = [*earlier, provenance.of_this_process(settings)]
    storage.write_bytes(uri, json.dumps(record | {"processes": processes}, indent=2).encode())


def read(output: str) -> dict[str, Any]:
    """The record of the run in `output`: `run_id`, `question`, `settings`, `processes`.

    Raises:
        NotFoundError: there is none.
        StorageError: it is not one of ours.
    """
    uri = storage.join(output, FILE)
    text = storage.read_bytes(uri)
    try:
        record = json.loads(text)
        if not isinstance(record["question"], dict) or not isinstance(record["run_id"], str):
            raise TypeError("question and run_id")
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{uri} is not the {FILE} of a run: {error!r}") from error
    return dict(record)
