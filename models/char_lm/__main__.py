"""A character-level language model: train it on a text, and let it write."""

from __future__ import annotations

try:
    import typer

    from .commands.inspect import inspect
    from .commands.sample import sample
except ImportError as error:
    raise SystemExit(f"{error}. This program needs minigrad's extra: pip install -e '.[models]'") from error

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)
for command in (sample, inspect):
    app.command()(command)

if __name__ == "__main__":
    app()
