"""Boosters: the libraries' own formats, loaded by the libraries, as the estimators that `compile_model` takes."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np

from trivet.core.errors import CompileError
from trivet.model.compile.doors.ubjson import end_of

_RANKING = ("rank:", "survival:")
_LIGHT_CLASSIFIERS = ("binary", "multiclass", "multiclassova", "cross_entropy")
_CAT_CLASSIFIERS = ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")


class _Objective(msgspec.Struct):
    name: str


class _Learner(msgspec.Struct):
    objective: _Objective


class _XgboostFile(msgspec.Struct):
    learner: _Learner
    version: list[int]


def load_xgboost_json(data: bytes) -> Any:
    """Return the XGBClassifier or XGBRegressor in `data`, XGBoost's JSON; raises `CompileError` for any other JSON."""
    try:
        msgspec.json.decode(data, type=_XgboostFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CompileError(f"this JSON is no model of XGBoost: {error}.") from None
    return _xgboost(data)


def load_xgboost_ubj(data: bytes) -> Any:
    """Return the XGBClassifier or XGBRegressor in `data`, XGBoost's binary JSON."""
    if (end := end_of(data)) != len(data):
        raise CompileError(
            "this binary JSON is damaged or cut short."
            if end is None
            else "the file goes on after its end: bytes behind a model of XGBoost are not read."
        )
    return _xgboost(data)


def _xgboost(data: bytes) -> Any:
    try:
        import xgboost
    except ModuleNotFoundError:
        raise _not_installed("XGBoost", "xgboost-cpu") from None
    try:
        booster = xgboost.Booster(model_file=bytearray(data))
        objective = str(msgspec.json.decode(booster.save_config())["learner"]["objective"]["name"])
    except (xgboost.core.XGBoostError, KeyError, TypeError, ValueError) as error:
        raise CompileError(f"XGBoost cannot load this file: {_first_line(error)}.") from None
    if objective.startswith(_RANKING):
        raise CompileError(f"XGBoost's objective {objective!r} is not served: only classification and regression are.")
    if booster.feature_names and "c" in (booster.feature_types or ()):
        raise CompileError(
            "this model of XGBoost splits on categories of pandas, which no request can name to it: "
            "encode them in a pipeline (OneHotEncoder, OrdinalEncoder) before training, and push that."
        )
    is_classifier = objective.startswith(("binary:", "multi:"))
    model = xgboost.XGBClassifier() if is_classifier else xgboost.XGBRegressor()
    model.load_model(bytearray(data))
    return model


def load_lightgbm(data: bytes) -> Any:
    """Return the LGBMClassifier or LGBMRegressor in `data`, LightGBM's text."""
    try:
        import lightgbm
    except ModuleNotFoundError:
        raise _not_installed("LightGBM", "lightgbm") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise CompileError("this LightGBM file is no text: it is damaged, or goes on after its end.") from None
    last = text.rstrip("\n").rpartition("\n")[2]
    if "\nend of trees\n" not in text:
        raise CompileError("this LightGBM file is cut short: its trees have no end.")
    if not last.startswith(("pandas_categorical:", "end of parameters")):
        raise CompileError("the file goes on after its end, or is cut short: it must end as LightGBM writes it.")
    found = re.search(r"^objective=(\S+)", text, re.MULTILINE)
    objective = found[1] if found else "regression"
    try:
        booster = lightgbm.Booster(model_str=text)
    except Exception as error:  # noqa: BLE001  (its errors share no base class)
        raise CompileError(f"LightGBM cannot load this file: {_first_line(error)}.") from None
    if objective in _LIGHT_CLASSIFIERS:
        classes = max(int(booster.dump_model(num_iteration=1)["num_class"]), 2)
        return _fitted(lightgbm.LGBMClassifier(objective=objective), booster, classes)
    if objective in ("lambdarank", "rank_xendcg"):
        raise CompileError(f"LightGBM's objective {objective!r} is not served: only classification and regression are.")
    return _fitted(lightgbm.LGBMRegressor(objective=objective), booster, 0)


def _fitted(model: Any, booster: Any, classes: int) -> Any:
    """Return `model` as `fit` would leave it around `booster`: the library has no way to load an estimator from text."""
    from sklearn.preprocessing import LabelEncoder

    model._Booster = booster
    model.fitted_ = True
    model._n_features = model._n_features_in = booster.num_feature()
    invented = [f"Column_{place}" for place in range(booster.num_feature())]
    model._fitted_with_feature_names = booster.feature_name() != invented
    if classes:
        model._le = LabelEncoder().fit(np.arange(classes))
        model._classes, model._n_classes = model._le.classes_, classes
    return model


def load_catboost(data: bytes) -> Any:
    """Return the CatBoostClassifier or CatBoostRegressor in `data`, CatBoost's cbm."""
    try:
        import catboost
    except ModuleNotFoundError:
        raise _not_installed("CatBoost", "catboost") from None
    try:
        model = catboost.CatBoost().load_model(blob=data)
        loss = str(model.get_all_params().get("loss_function", "RMSE")).partition(":")[0]
        typed = catboost.CatBoostClassifier() if loss in _CAT_CLASSIFIERS else catboost.CatBoostRegressor()
        typed.load_model(blob=data)
    except catboost.CatBoostError as error:
        raise CompileError(f"CatBoost cannot load this file: {_first_line(error)}.") from None
    typed._n_features_in = len(typed.feature_names_)  # loading leaves it at 0
    return typed


def _not_installed(library: str, package: str) -> CompileError:
    return CompileError(f"this is a model of {library}, which is not installed here: `pip install {package}`.")


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")
