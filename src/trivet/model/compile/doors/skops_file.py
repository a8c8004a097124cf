"""skops: the types a file asks for, listed without loading it; loaded only where all of them are on the list."""

from __future__ import annotations

from typing import Any

from trivet.core.errors import CompileError

MEMBER = "schema.json"  # what tells a skops file from other zips
SHOWN = 5
# Beyond what skops itself trusts (scikit-learn, NumPy, SciPy): what a fitted model of these libraries consists of.
TRUSTED = frozenset(
    {
        "builtins.bytearray",
        "collections.OrderedDict",
        "collections.defaultdict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
    }
)


def load_skops(data: bytes) -> Any:
    """Return the object in the skops file `data`; raises `CompileError` naming the types that are on no list."""
    from skops import io as skops  # here: it imports all of scikit-learn, seconds that other files need not wait

    try:
        untrusted = set(skops.get_untrusted_types(data=data)) - TRUSTED
    except Exception as error:  # noqa: BLE001  (a damaged file raises anything)
        raise CompileError(f"the skops file cannot be read: {error or type(error).__name__}.") from None
    if untrusted:
        names = sorted(untrusted)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise CompileError(
            f"the skops file holds types that are on no list of trusted ones: {', '.join(names[:SHOWN])}{more}. "
            "Replace them by steps of scikit-learn, or push the model from where it was trained: trivet.push(model, ...)."
        )
    try:
        return skops.loads(data, trusted=sorted(TRUSTED))
    except Exception as error:  # noqa: BLE001
        raise CompileError(f"the skops file cannot be opened: {error or type(error).__name__}.") from None
