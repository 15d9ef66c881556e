"""How a network is trained: the recipe and its optimizer, a step, the run and its checkpoints, its log, Ctrl-C."""
