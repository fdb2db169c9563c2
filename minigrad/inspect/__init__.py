"""See inside: instruments for people who study what autograd does.

>>> import minigrad as mg
>>> from minigrad.inspect import explain
>>> print(explain(mg.tanh))    # doctest: +ELLIPSIS
tanh: an elementwise primitive, of minigrad.ops.elementwise
    stated    y = tanh x          dy/dx = 1 - y²
    ...
"""

from .cells.neurons import neurons
from .drawing.draw import draw
from .explaining.explain import explain
from .exploring.explorer import explorer
from .flowing.flow import gradient_flow
from .profiling.profile import profile

__all__ = ["draw", "explain", "explorer", "gradient_flow", "neurons", "profile"]
