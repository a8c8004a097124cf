"""What decides: the registry, the prediction log and, later, what watches and renews models. Django; never the data plane."""
