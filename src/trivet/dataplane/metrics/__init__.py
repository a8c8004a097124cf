"""What this host's processes have counted: written by each for itself, summed by whoever asks."""
