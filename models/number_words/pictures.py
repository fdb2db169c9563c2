def gap(*a): pass
def costs(*a): pass
GAP="gap.png"; COSTS="costs.png"
