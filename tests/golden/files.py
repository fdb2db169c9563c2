"""Two files as PyTorch writes them, for tests of reading them without PyTorch.

    python -m tests.golden.files

writes them beside this file: a model of every layer with weights, and one with a tied weight, of which
`save_model` keeps one name. "example.ids" and "example.output" in them are an input and what PyTorch made of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

MODEL = Path(__file__).parent / "torch_model.safetensors"
TIED = Path(__file__).parent / "torch_tied.safetensors"
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
    print(f"{MODEL.name}: {MODEL.stat().st_size} bytes, {TIED.name}: {TIED.stat().st_size}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
