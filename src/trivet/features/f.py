"""The words of a FeatureSet: `f.Count("orders")`, `f.Category("plan__slug", choices=[...])`, and `f.as_of`, their moment.

`f.Probability("leaves")`, `f.Choice([...])` and `f.Number(unit=...)` are of a Predictor: what its answers are.
"""

from trivet.features.aggregates import (
    Avg,
    Count,
    Exists,
    Max,
    Min,
    Newest,
    Sum,
)
from trivet.features.as_of import as_of
from trivet.features.columns import (
    Boolean,
    Category,
    Column,
    DaysSince,
    HoursSince,
    Part,
)
from trivet.features.computed import Expression, Method
from trivet.features.given import Given
from trivet.features.outputs import Choice, Number, Probability
from trivet.features.todo import TODO

__all__ = [
    "TODO",
    "Avg",
    "Boolean",
    "Category",
    "Choice",
    "Column",
    "Count",
    "DaysSince",
    "Exists",
    "Expression",
    "Given",
    "HoursSince",
    "Max",
    "Method",
    "Min",
    "Newest",
    "Number",
    "Part",
    "Probability",
    "Sum",
    "as_of",
]
