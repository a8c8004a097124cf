"""Trained object to bundle, with the parity gate. Trained files are opened here only, in disposable processes."""
