"""The contract of deliveries, which may be of another version than this program."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


class NotAContract(ValueError):
    """The file is no contract of deliveries. The message contains the reason."""


def read_examples(path: Path) -> Mapping[str, dict[str, Any]]:
    """Return the examples of a delivery's body in a contract, by name. Raises `NotAContract`."""
    try:
        document = yaml.safe_load(path.read_bytes())
        operations = [item["post"] for item in document["paths"].values() if "post" in item]
        bodies = [operation["requestBody"]["content"]["application/json"] for operation in operations]
        examples = {name: example["value"] for body in bodies for name, example in body["examples"].items()}
    except (OSError, yaml.YAMLError, UnicodeError, LookupError, TypeError, AttributeError) as exc:
        raise NotAContract(f"{path} is no contract of deliveries with examples") from exc
    if not examples or not all(isinstance(value, dict) for value in examples.values()):
        raise NotAContract(f"{path} has no examples of deliveries")
    return examples
