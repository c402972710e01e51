"""Options as people write them: config files in YAML, and values in a shell."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from tfft.config import option_types
from tfft.core.errors import ConfigError

#: A text that is valid wherever any text is.
_ANY_NAME = "any name"
#: How a shell says None.
_NULL = {"null", "~"}


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-4 is a number, which YAML 1.1 takes for a string; a key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Builds a mapping, and refuses a key that stands twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_option(name: str, text: str) -> Any:
    """Returns the value of an option that was written as text, for instance in a shell.

    Args:
        name: Name of the option.
        text: What was written: a YAML scalar or flow collection, or a plain string.

    Returns:
        The first of both readings that fits the option; the YAML reading when neither does.
    """
    adapter = option_types()[name]
    try:
        value = yaml.load(text, _Loader)  # noqa: S506  a safe loader
    except (yaml.YAMLError, ValueError):  # ValueError: an impossible date
        value = text
    # Names and paths are taken to the letter ("1", "#2", "yes"), but for null.
    takes_text = text not in _NULL and _fitting(adapter, [_ANY_NAME])
    fitting = _fitting(adapter, [text, value] if takes_text else [value, text])
    return fitting[0] if fitting else value


def _fitting(adapter: TypeAdapter[Any], candidates: list[Any]) -> list[Any]:
    """Returns the candidates that fit a type, as values of it."""
    found = []
    for candidate in candidates:
        with contextlib.suppress(ValidationError):
            found.append(adapter.validate_python(candidate))
    return found


def read_config_file(path: str) -> dict[str, Any]:
    """Returns the options in a YAML file.

    Args:
        path: A file whose keys are the fields of `FitConfig`.

    Returns:
        Name to value; not validated yet.

    Raises:
        ConfigError: When the file is missing or no YAML mapping.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            options = yaml.load(stream, _Loader)  # noqa: S506  a safe loader
    except OSError as error:
        raise ConfigError(f"The config file {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bad bytes, or an impossible date
        reason = " ".join(str(error).split())
        raise ConfigError(f"The config file {path} is not valid YAML: {reason}.") from None
    if not isinstance(options, dict):
        raise ConfigError(f"The config file {path} should hold lines like 'epochs: 3'; it holds no mapping.")
    return {str(name): value for name, value in options.items()}
