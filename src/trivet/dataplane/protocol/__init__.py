"""The Open Inference Protocol, and Trivet's rows beside it: bytes to messages and back, without any I/O."""
