"""Hypothesis strategies: what to try a primitive, a function or a module with.

    from minigrad.testing import gradcheck, strategies as mst

    @given(mst.applications(my_primitive))
    def test_my_primitive(application):
        gradcheck(application, application.tensors())

What hypothesis prints when a test fails is code: pasted behind `import minigrad, numpy`, and the import of whatever
module it names, it makes the same again, every digit, dtype and memory layout. Sizes are small, which finds the same
errors sooner.
"""

try:
    import hypothesis as hypothesis
except ImportError as error:
    raise ImportError(
        "minigrad.testing.strategies needs hypothesis: pip install hypothesis (minigrad's extra test)"
    ) from error

from .applications import applications, reductions
from .arrays import arrays, dtypes, views
from .indices import indices
from .modules import modules, sequences
from .shapes import axes, broadcastable_shapes, shapes

__all__ = [
    "applications",
    "arrays",
    "axes",
    "broadcastable_shapes",
    "dtypes",
    "indices",
    "modules",
    "reductions",
    "sequences",
    "shapes",
    "views",
]
