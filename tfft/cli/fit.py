"""`tfft fit`: its options are the fields of `FitConfig`, with their defaults and help texts."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from tfft.cli.shared import Quiet
from tfft.config import FitConfig, parse_option, read_config_file
from tfft.console import show


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("fit")(_with_options(fit))


def fit(source: str, quiet: bool = False, **options: Any) -> None:
    """Fine-tune a model on SOURCE: a data file (.csv, .tsv, .jsonl) or a config file (.yaml) with the same options."""
    given: dict[str, Any] = {}
    if source.lower().endswith((".yaml", ".yml")):
        given = read_config_file(source)
    else:
        given["data"] = source
    for name, text in options.items():
        if text is not None:
            given[name] = text if isinstance(text, bool) else parse_option(name, text)

    import tfft

    model = tfft.fit(quiet=quiet, **given)
    show(*model.report.renderables())


def _with_options(command: Any) -> Any:
    """Gives the command one option for each field; None means that it was not passed."""
    hints = get_type_hints(FitConfig)
    parameters = [
        inspect.Parameter(
            "source",
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            annotation=Annotated[str, typer.Argument(help="Data file, or config file (.yaml).", show_default=False)],
        )
    ]
    for field in dataclasses.fields(FitConfig):
        if field.name == "data":
            continue
        hint, default = hints[field.name], field.default
        text = f"{field.metadata['help']} [default: {'none' if default is None else default}]"
        option = typer.Option(help=text, show_default=False, metavar=None if hint is bool else _metavar(hint))
        annotation: Any = Annotated[bool | None, option] if hint is bool else Annotated[str | None, option]
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    parameters.append(inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet))

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
        return "{LABEL: WEIGHT}"
    if members:
        return "|".join(members)
    return {str: "TEXT", int: "INTEGER", float: "NUMBER", bool: "true|false"}.get(hint, "VALUE")
