"""How each kind of fitted step becomes nodes: our own where the stock ones are silent about errors, theirs elsewhere."""
