"""Train the shop's model from a table of its features: `python train.py churned.csv churn.joblib`."""

import sys

import joblib
import pandas
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

WORDS = ["country", "plan"]

table, target = sys.argv[1:]
rows = pandas.read_csv(table)
churned = rows.pop("churned")
model = make_pipeline(
    make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), WORDS), remainder="passthrough"
    ),
    HistGradientBoostingClassifier(random_state=1),
)
auc = cross_val_score(model, rows, churned, scoring="roc_auc", cv=3).mean()
joblib.dump(model.fit(rows, churned), target)
print(f"{target}: {len(rows):,} rows, {len(rows.columns)} inputs, AUC {auc:.3f}")
