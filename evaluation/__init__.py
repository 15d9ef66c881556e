"""How networks are judged: the scores of a set by the paper's protocol, tables, the comparison sheet."""
