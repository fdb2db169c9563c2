"""What becomes of a gradient on its way back through time: where it vanishes, where it explodes, and what helps.

Each experiment measures, shows a table and draws a picture; without the name of one, all of them are made by turns.
"""

from ..common.experiments import laboratory
from . import clipping, flow, forget, memory, scalar, spectrum

EXPERIMENTS = (
    scalar.EXPERIMENT,
    spectrum.EXPERIMENT,
    flow.EXPERIMENT,
    forget.EXPERIMENT,
    clipping.EXPERIMENT,
    memory.EXPERIMENT,
)

app = laboratory("gradients", *EXPERIMENTS, about=__doc__)
