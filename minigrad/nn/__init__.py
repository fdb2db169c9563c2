"""Layers, losses and what belongs to them. Names, shapes and initialisation follow `torch.nn`."""

from . import functional, init, utils
from .linear import CrossEntropyLoss, Dropout, Embedding, Linear, ReLU, Sigmoid, Tanh
from .locked import LockedDropout
from .module import Module, ModuleList, Parameter, Sequential
from .recurrent import GRU, LSTM, RNN
from .steps import GRUCell, LSTMCell, RNNCell
from .variants import LayerNormLSTM, PeepholeLSTM

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "LayerNormLSTM",
    "Linear",
    "LockedDropout",
    "Module",
    "ModuleList",
    "Parameter",
    "PeepholeLSTM",
    "RNNCell",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "functional",
    "init",
    "utils",
]
