"""loss.onnx: a graph that says how wrong an answer probably is. A stranger may have made it: what it may be is said here."""

from __future__ import annotations

from trivet.core.signature import Input, Output, Signature

LOSS_NAME = "loss.onnx"  # of the file in a bundle
LOSS_INPUT = "X"  # what `core.profile.losses.loss_inputs` makes of rows
LOSS_OUTPUTS = ("prediction_0", "prediction_1")  # the expected absolute error, and its square
MOST_LOSS_BYTES = 1024**2  # ours have some tens of thousands
MOST_LOSS_NODES = 40
LOSS_OPERATORS = frozenset(
    ["Add", "Cast", "Concat", "Exp", "Gather", "Identity", "Reshape", "ai.onnx.ml.TreeEnsembleRegressor"]
)
"""Of boosted trees; none of them loops, and none makes more of a row than there is in the graph."""


def loss_signature(features: int) -> Signature:
    """Return what the loss model of a version with so many features takes, them and the prediction, and gives: two numbers."""
    return Signature(
        inputs=(Input(name=LOSS_INPUT, datatype="FP64", shape=(-1, features + 1), nullable=True),),
        outputs=tuple(Output(name=name, datatype="FP64", shape=(-1,)) for name in LOSS_OUTPUTS),
        task="regression",
    )
