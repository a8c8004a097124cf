"""The doors: one file for each kind of trained file, each opening it with nothing but its bytes. Disposable processes only."""
