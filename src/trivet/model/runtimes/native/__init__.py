"""Runtimes of trained objects that run unchanged; heavy, so only model workers, the probe and the compiler import them."""
