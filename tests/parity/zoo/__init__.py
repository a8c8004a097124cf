"""A zoo of trained models: what becomes of each, judged by the original itself in a process of its own."""
