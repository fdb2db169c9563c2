"""Files as PyTorch writes them, for tests of reading them without PyTorch.

    python -m tests.golden.files

writes them beside this file: a model of every layer with weights, and one with a tied weight, of which
`save_model` keeps one name. "example.ids" and "example.output" in them are an input and what PyTorch made of it.
And for each cell, a language model of two layers, with its logits for IDS in the metadata.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL = Path(__file__).parent / "torch_model.safetensors"
TIED = Path(__file__).parent / "torch_tied.safetensors"
LANGUAGE = {cell: Path(__file__).parent / f"torch_{cell}_language.safetensors" for cell in ("rnn", "lstm", "gru")}
IDS = [[1, 4], [0, 2], [3, 3]]  # (T, N)


def build(nn: Any) -> Any:
    """The model, of torch.nn or of minigrad.nn."""
    return nn.ModuleDict(
        {
            "embedding": nn.Embedding(5, 3, padding_idx=0),
            "norm": nn.LayerNorm(3),
            "rnn": nn.RNN(3, 4),
            "lstm": nn.LSTM(4, 3, num_layers=2),
            "gru": nn.GRU(3, 4),
            "output": nn.Linear(4, 5),
        }
    )


def run(model: Any, ids: Any) -> Any:
    x = model["norm"](model["embedding"](ids))
    for name in ("rnn", "lstm", "gru"):
        x, _ = model[name](x)
    return model["output"](x)


def build_tied(nn: Any) -> Any:
    """An embedding and an output layer with one weight."""
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "output": nn.Linear(3, 5)})
    model["output"].weight = model["embedding"].weight
    return model


def run_tied(model: Any, ids: Any) -> Any:
    return model["output"](model["embedding"](ids))


def build_language(nn: Any, cell: str) -> Any:
    """A language model: V = 5, D = 3, H = 4, L = 2."""
    layer = getattr(nn, cell.upper())
    return nn.ModuleDict({"embedding": nn.Embedding(5, 3), "rnn": layer(3, 4, 2), "output": nn.Linear(4, 5)})


def run_language(model: Any, ids: Any) -> Any:
    return model["output"](model["rnn"](model["embedding"](ids))[0])


def main() -> None:
    import torch
    from safetensors.torch import save_file, save_model

    torch.manual_seed(0)
    ids = torch.tensor(IDS)
    model, tied = build(torch.nn), build_tied(torch.nn)
    with torch.no_grad():
        save_file(
            model.state_dict() | {"example.ids": ids, "example.output": run(model, ids)}, MODEL, {"from": "torch"}
        )
        tied.register_buffer("example_ids", ids)
        tied.register_buffer("example_output", run_tied(tied, ids))
    save_model(tied, str(TIED))
    for cell, path in LANGUAGE.items():
        language = build_language(torch.nn, cell)
        logits = run_language(language, ids).tolist()
        save_file(language.state_dict(), path, {"logits": json.dumps(logits)})
    print(f"{MODEL.name}: {MODEL.stat().st_size} bytes, {TIED.name}: {TIED.stat().st_size}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
