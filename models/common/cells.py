"""The recurrent layers that a program lets one choose from."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from minigrad import nn

from .errors import UserError

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}

Cell = Annotated[str, Option(help="rnn, lstm or gru.", rich_help_panel="The model")]


def refuse_unknown_cell(name: str) -> None:
    """
    Raises:
        UserError: there is no such cell.
    """
    if name not in CELLS:
        raise UserError(f"there is no cell {name!r}; choose one of {', '.join(CELLS)}")
