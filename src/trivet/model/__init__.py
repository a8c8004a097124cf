"""What a model is, as data: one version on disk, how it is made from a trained object, how it is run."""
