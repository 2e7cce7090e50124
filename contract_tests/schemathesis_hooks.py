"""What Schemathesis must be told of the contracts beyond the schemas; `schemathesis.toml` names this module."""

from typing import Any

import jsonschema_rs
import schemathesis

FORM = "multipart/form-data"
ACCEPTED_BAD_DATA = "ST201"
MAX_FILES = 10


@schemathesis.hook
def before_call(context: Any, case: Any, **_: Any) -> None:
    """Puts the part `message` first: a schema gives the parts of a form no order."""
    if case.media_type == FORM and isinstance(case.body, dict) and "message" in case.body:
        # In place: a new body would be judged anew, and its files are no text that fits a schema.
        for name in [name for name in case.body if name != "message"]:
            case.body[name] = case.body.pop(name)


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Drops what was meant to be a bad form and is a good one: where there are files the tool does not check that."""
    return not (failure.code == ACCEPTED_BAD_DATA and case.media_type == FORM and _is_good_form(case))


def _is_good_form(case: Any) -> bool:
    files = case.body.get("attachments", [])
    if set(case.body) - {"message", "attachments"} or not isinstance(files, list) or len(files) > MAX_FILES:
        return False
    components = case.operation.schema.raw_schema["components"]
    schema = _without_nullable({"$ref": "#/components/schemas/CreateWebMessagePart", "components": components})
    is_message = jsonschema_rs.Draft4Validator(schema).is_valid(case.body.get("message"))
    # A file is a str with its bytes in `data`.
    return is_message and all(isinstance(file, str) and getattr(file, "data", file) for file in files)


def _without_nullable(schema: Any) -> Any:
    """The schema in the words of JSON Schema."""
    if isinstance(schema, list):
        return [_without_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    words = {name: _without_nullable(value) for name, value in schema.items()}
    return words | {"type": [words["type"], "null"]} if words.get("nullable") is True else words
