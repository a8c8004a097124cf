"""What decides: the registry, the prediction log, and the messages that tell others of them. Django; never the data plane."""
