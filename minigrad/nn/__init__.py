"""Layers, losses and what belongs to them. Names, shapes and initialisation follow `torch.nn`."""

from . import functional, init, utils
from .activation import (
    ELU,
    GELU,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from .containers import ModuleDict, ModuleList, Sequential
from .convolution import Conv2d, MaxPool2d
from .linear import Dropout, Embedding, Flatten, Identity, LayerNorm, Linear
from .locked import LockedDropout
from .loss import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss, NLLLoss, SmoothL1Loss
from .module import Module
from .parameter import Parameter
from .recurrent import GRU, LSTM, RNN
from .stateful import Stateful
from .steps import GRUCell, LSTMCell, RNNCell
from .variants import LayerNormLSTM, PeepholeLSTM

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "BCEWithLogitsLoss",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "L1Loss",
    "LSTMCell",
    "LayerNorm",
    "LayerNormLSTM",
    "LeakyReLU",
    "Linear",
    "LockedDropout",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "PeepholeLSTM",
    "RNNCell",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Softsign",
    "Stateful",
    "Tanh",
    "functional",
    "init",
    "utils",
]
