"""The gRPC door: the Open Inference Protocol's service, and the standard health service, on the same corridor."""
