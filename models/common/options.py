"""A command's options, declared once: the fields of a dataclass, each with its remark, are what typer shows and reads.

An option gets its value from the first of these that has one: the command line, a TOML file, a preset, the default.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import tomllib
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from .console import clear_errors
from .errors import UserError

Data = Annotated[
    Path | None, Option(metavar="FILE", help="A UTF-8 text to learn; the one inside Python if none is named.")
]
Device = Annotated[str, Option(help='"cpu", or "cuda" for a GPU.')]


def command(function: Callable[..., None], *tables: type) -> Callable[..., None]:
    """A function for `typer.Typer.command`, whose options are the fields of dataclasses.

    `function` is called with the context and an instance of each, inside `clear_errors`.
    """

    def call(ctx: typer.Context, **values: Any) -> None:
        with clear_errors():
            given = [table(**{f.name: values[f.name] for f in dataclasses.fields(table)}) for table in tables]
            function(ctx, *given)

    parameters = [inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for table in tables:
        hints = typing.get_type_hints(table, include_extras=True)
        parameters += [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=default_of(f), annotation=hints[f.name])
            for f in dataclasses.fields(table)
        ]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    call.__name__, call.__doc__ = function.__name__, function.__doc__
    return call


def default_of(field: dataclasses.Field[Any]) -> Any:
    """What a field is if nothing else is said."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def given(ctx: typer.Context) -> set[str]:
    """The names of the options that stand on the command line itself."""
    return {name for name in ctx.params if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"}


def flag(name: str) -> str:
    """An option's name as it is typed."""
    return "--" + name.replace("_", "-")


def prefer(ctx: typer.Context, values: Mapping[str, Any]) -> None:
    """Take these values before those that were preferred so far, but after the command line's."""
    ctx.default_map = {**(ctx.default_map or {}), **values}


def fall_back(ctx: typer.Context, values: Mapping[str, Any]) -> None:
    """Take these values before the defaults, but after all others."""
    ctx.default_map = {**values, **(ctx.default_map or {})}


def read_toml(path: Path, table: type) -> dict[str, Any]:
    """Options from a TOML file, by their names with - or _.

    Raises:
        UserError: there is no such file, it is no TOML, or it has an option that there is not.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"the options in {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not a TOML file: {error}") from error
    options = {name.replace("-", "_"): value for name, value in found.items()}
    defaults = {f.name: default_of(f) for f in dataclasses.fields(table)}
    for name, value in options.items():
        if name not in defaults:
            known = ", ".join(sorted(option.replace("_", "-") for option in defaults))
            raise UserError(f"{path}: there is no option {name!r}; there are {known}")
        if isinstance(value, dict):
            raise UserError(f"{path}: expected a value for {name!r}, got a table; write options without [sections]")
        if isinstance(value, bool) != isinstance(defaults[name], bool):
            raise UserError(f"{path}: true and false are for switches, and nothing else; got {name} = {value!r:.60}")
    return {
        name: [value] if isinstance(defaults[name], list) and isinstance(value, str) else value
        for name, value in options.items()
    }


def to_toml(values: Mapping[str, Any], remark: str) -> str:
    """Options as a TOML file that `read_toml` reads; what is None is left out."""
    lines = [f"# {remark}"]
    for name, value in values.items():
        if value is not None:
            line = f"{name.replace('_', '-')} = {_toml(value)}"
            whole = line.encode("utf-8", "backslashreplace").decode()
            lines.append(line if line == whole else f"# {whole}  # a name that is no Unicode, which TOML cannot say")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """JSON's texts, numbers, truths and lists are TOML's too, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
