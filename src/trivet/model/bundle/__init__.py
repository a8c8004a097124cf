"""One version on disk: a manifest, the files it names, and the digest that is its identity."""
