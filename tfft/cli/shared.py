"""Arguments that several commands take."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from tfft.config import FitConfig
from tfft.config_text import parse_option, read_config_file

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing and show no progress; only results.")]
RunDirectory = Annotated[Path, typer.Argument(help="Run directory of an earlier fit.", show_default=False)]
BatchSize = Annotated[int, typer.Option(min=1, help="Rows per forward pass.")]


def source_options(source: str) -> dict[str, Any]:
    """Returns the options that the first argument stands for: those of a config file, or the data itself."""
    return read_config_file(source) if source.lower().endswith((".yaml", ".yml")) else {"data": source}


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that were passed in the shell, as values."""
    return {
        name: text if isinstance(text, bool) else parse_option(name, text)
        for name, text in options.items()
        if text is not None
    }


def with_config_options(command: Callable[..., None], *, hidden: Collection[str] = ()) -> Callable[..., None]:
    """Gives a command one option for each field of `FitConfig`; None means that it was not passed.

    Args:
        command: Takes them as keyword arguments, beside its own parameters.
        hidden: Fields that the command does not take.

    Returns:
        The command for Typer.
    """
    hints = get_type_hints(FitConfig)
    signature = inspect.signature(command, eval_str=True)
    parameters = [item for item in signature.parameters.values() if item.kind is not inspect.Parameter.VAR_KEYWORD]
    for field in dataclasses.fields(FitConfig):
        if field.name == "data" or field.name in hidden:
            continue
        hint, default = hints[field.name], field.default
        text = f"{field.metadata['help']} [default: {'none' if default is None else default}]"
        option = typer.Option(help=text, show_default=False, metavar=None if hint is bool else _metavar(hint))
        annotation: Any = Annotated[bool | None, option] if hint is bool else Annotated[str | None, option]
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )

    def wrapper(**arguments: Any) -> None:
        command(**arguments)

    wrapper.__doc__ = command.__doc__
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _metavar(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(map(str, get_args(hint)))
    members = [_metavar(member) for member in get_args(hint) if member is not type(None)]
    if get_origin(hint) is dict:
        return "{NAME: VALUE}"
    if members:
        return "|".join(members)
    return {str: "TEXT", int: "INTEGER", float: "NUMBER", bool: "true|false"}.get(hint, "VALUE")
