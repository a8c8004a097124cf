"""The Python client: what another program, or a notebook, uses to ask a running server. It imports no Django."""

from trivet.client.client import Client as Client, RowPrediction as RowPrediction

__all__ = ["Client", "RowPrediction"]
