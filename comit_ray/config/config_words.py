"""Describes an option's allowed values, and errors in them, in plain words without Python's type names.

`--help`, errors of the command line and errors of YAML files all use these words.
"""

import difflib
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_SCALARS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "yes or no",
    date: "day such as 2026-11-30",
    Any: "any value",
}
_CONTAINERS = (tuple, list, set, dict)
NEEDED = "is needed"
_OF_FORM = re.compile(
    r"(int|float|bool|string|none|tuple|list|set|dict|model|literal|enum|finite|greater|less|date)_?\w*"
    r"(type|parsing|error|required|number|than|equal|from_float|inexact)|enum"
)
"""Kinds of pydantic's errors that only say which form was expected. Other kinds have a sentence of their own."""


def members(annotation: Any) -> tuple[Any, ...]:
    """Return the alternatives of an annotation: the members of a union, or the annotation itself. Their bounds stay."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(inner for member in get_args(annotation) for inner in members(member))
    if get_origin(annotation) is Annotated and get_origin(get_args(annotation)[0]) in (Union, types.UnionType):
        return members(get_args(annotation)[0])
    return (annotation,)


def bare(annotation: Any) -> Any:
    """Return the annotation without its bounds."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def takes(annotation: Any, *kinds: Any) -> bool:
    """Whether one of the alternatives has one of these types, which may also be `Literal`, `None` and containers."""
    return any(_kind(member) in kinds for member in members(annotation))


def _kind(member: Any) -> Any:
    plain = bare(member)
    return None if plain is type(None) else get_origin(plain) or plain


def describe(annotation: Any, bounds: Sequence[Any] = ()) -> str:
    """Describe the allowed values: `whole number above 0, or null`; `one of png|webp`; `list of: number from 0 to 1`.

    Args:
        annotation: annotation of the field.
        bounds: metadata of the field, if its bounds are not in the annotation.
    """
    found = [_member(member, bounds) for member in members(annotation) if _kind(member) is not None]
    words = ", or ".join(dict.fromkeys(found))
    return f"{words}, or null" if takes(annotation, None) else words


def describe_field(field: FieldInfo) -> str:
    """Describe the allowed values of a model's field."""
    return describe(field.annotation, field.metadata)


def _member(member: Any, bounds: Sequence[Any]) -> str:
    if get_origin(member) is Annotated:
        bounds = [*bounds, *_bounds(get_args(member)[1:])]
    plain = bare(member)
    kind = get_origin(plain) or plain
    if kind is Literal:
        return f"one of {'|'.join(map(str, get_args(plain)))}" if len(get_args(plain)) > 1 else str(get_args(plain)[0])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {'|'.join(str(one.value) for one in kind)}"
    if kind in (tuple, list, set):
        items = [item for item in get_args(plain) if item is not Ellipsis]
        what = describe(items[0]) if items else "any value"
        return f"list of {len(items)}: {what}" if len(items) > 1 else f"list of: {what}"
    if kind is dict:
        return f"mapping of names to: {describe(get_args(plain)[1])}" if get_args(plain) else "mapping"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"mapping with {', '.join(kind.model_fields)}"
    return _SCALARS.get(kind, "text") + (_range(_bounds(bounds)) if kind in (int, float) else "")


def _bounds(metadata: Sequence[Any]) -> list[Any]:
    """Return the bounds one by one. Those of a `Field(...)` inside an annotation lie in its own metadata."""
    found: list[Any] = []
    for one in metadata:
        found += _bounds(one.metadata) if isinstance(one, FieldInfo) else [one]
    return found


def _range(bounds: Sequence[Any]) -> str:
    low = high = ""
    inclusive = {}
    for bound in bounds:
        if isinstance(bound, annotated_types.Gt):
            low = f"above {bound.gt:,}"
        elif isinstance(bound, annotated_types.Ge):
            low, inclusive["low"] = f"at least {bound.ge:,}", f"{bound.ge:,}"
        elif isinstance(bound, annotated_types.Lt):
            high = f"below {bound.lt:,}"
        elif isinstance(bound, annotated_types.Le):
            high, inclusive["high"] = f"at most {bound.le:,}", f"{bound.le:,}"
    if len(inclusive) == 2:
        return f" from {inclusive['low']} to {inclusive['high']}"
    return "".join(f" {words}" for words in (" and ".join(filter(None, (low, high))),) if words)


def problems(
    model: type[BaseModel], error: ValidationError, keys_at: Callable[[tuple[int | str, ...]], Sequence[str]]
) -> Iterator[tuple[str, str]]:
    """Yield each wrong option by its dotted name, with what is wrong. The name is empty if several options conflict.

    A value is quoted only if its form is wrong. A value that one of our own validators refuses may hold a password.

    Args:
        model: class of the options.
        error: error of pydantic.
        keys_at: returns the valid keys at a location, for a key that is unknown there.
    """
    seen = set[str]()
    for item in error.errors(include_url=False):
        location, field = _field_at(model, item["loc"])
        key = ".".join(map(str, location))
        if item["type"] in ("extra_forbidden", "missing"):
            valid = keys_at(item["loc"][:-1])
            text = NEEDED if item["type"] == "missing" else unknown(str(item["loc"][-1]), valid)
            yield ".".join(map(str, item["loc"])), text
            continue
        if not item["loc"] and item["type"] == "model_type":
            text = f"expected options (key: value), got {shown(item['input'])}"
        elif field is None or not _OF_FORM.fullmatch(item["type"]):
            key = key if field is not None else ".".join(map(str, item["loc"]))
            text = re.sub(r"^Input should (?=be |have )", "must ", str(item["msg"]).removeprefix("Value error, "))
        else:
            inside = [str(part) for part in item["loc"][len(location) :]]
            annotation, bounds = field.annotation, field.metadata
            if inside and takes(annotation, dict) and values_of(annotation) is not None:
                key, annotation, bounds = f"{key}.{inside[0]}", values_of(annotation), []
            place = f" (its item {int(inside[-1]) + 1})" if inside and inside[-1].isdigit() else ""
            words = _with_articles(describe(annotation, bounds))
            text = f"expected {words}{place}, got {shown(item['input'])}{_quoted(item['input'], annotation)}"
        if key not in seen:  # a value with several allowed forms gets one sentence only
            seen.add(key)
            yield key, text


def values_of(annotation: Any) -> Any:
    """Return the annotation of a mapping's values; None if there is none."""
    for member in members(annotation):
        arguments = get_args(bare(member))
        if _kind(member) is dict and len(arguments) == 2:
            return arguments[1]
    return None


def _with_articles(words: str) -> str:
    return re.sub(r"(^|, or )(?=whole number|number|list|mapping|day)", r"\1a ", words)


def _quoted(value: Any, annotation: Any) -> str:
    """Return advice for a YAML value that is text only in quotes, such as `name: 2024` or `temperature: on`."""
    wants_text = takes(annotation, str, Literal)
    return ": write it in quotes to mean text" if wants_text and isinstance(value, (bool, int, float)) else ""


def shown(value: Any) -> str:
    """Return a value as a person writes it: `yes`, `null`, `[a, b]`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {shown(one)}' for key, one in value.items())}}}"
    text = str(value)
    return (text if len(text) <= 60 else f"{text[:57]}...") or "nothing"


def unknown(key: str, valid: Sequence[str]) -> str:
    """Say that there is no option of this name, with the nearest name and all valid ones."""
    known = f"; valid keys: {', '.join(valid)}" if valid else ""
    return f"no such option{did_you_mean(key, valid)}{known}"


def did_you_mean(word: str, known: Sequence[str], prefix: str = "") -> str:
    """Return ` (did you mean X?)` for the nearest known word, ignoring case; empty if none is near."""
    by_case = {one.casefold(): one for one in known}
    close = difflib.get_close_matches(word.casefold(), list(by_case), n=1)
    return f" (did you mean {prefix}{by_case[close[0]]}?)" if close else ""


def _field_at(model: type[BaseModel], location: Sequence[int | str]) -> tuple[list[int | str], FieldInfo | None]:
    """Return the part of a location that names fields, and the last of these fields.

    The rest of the location is an item of a list, or an alternative of a union.
    """
    taken: list[int | str] = []
    field: FieldInfo | None = None
    inner: Any = model
    for key in location:
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)) or str(key) not in inner.model_fields:
            break
        field = inner.model_fields[str(key)]
        taken.append(key)
        inner = field.annotation
    deeper = location[len(taken) :]
    models = field is not None and not isinstance(inner, type) and _holds_models(field.annotation)
    return (taken, None) if deeper and models else (taken, field)


def _holds_models(annotation: Any) -> bool:
    """Whether groups of options lie inside. Errors in them have a place of their own."""
    plain = bare(annotation)
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        return True
    return any(_holds_models(inner) for inner in get_args(plain) if inner is not Ellipsis)
