"""The primitives: formulas only, one table row each. `registry` holds every one by name."""

from . import classes as classes
from . import contraction as contraction
from . import elementwise as elementwise
from . import index as index
from . import logic as logic
from . import reduction as reduction
from . import shape as shape
from . import window as window
from .examples import document
from .primitive import registry as registry

document(registry)
