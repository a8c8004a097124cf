"""Trained object to bundle, with the parity gate. The only room that imports a training library."""
