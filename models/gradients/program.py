"""What becomes of a gradient on its way back through time: where it vanishes, where it explodes, and what helps.

Each experiment measures, shows a table and draws a picture; without the name of one, all of them are made by turns.
"""

from ..common.experiments import laboratory
from . import memory, scalar

EXPERIMENTS = (scalar.EXPERIMENT, memory.EXPERIMENT)

app = laboratory("gradients", *EXPERIMENTS, about=__doc__)
