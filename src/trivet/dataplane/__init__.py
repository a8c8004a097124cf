"""The data plane: what answers. It knows no Django; it is handed a Snapshot and gives back records."""
