"""Which models exist, which version answers and for whom: models, versions, aliases, routes, keys and their history."""
