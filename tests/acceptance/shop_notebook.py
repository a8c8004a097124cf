"""A notebook of the shop's data scientist, run in its folder: trains on an export and pushes what came of it from memory."""

import pandas
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import trivet

rows = pandas.read_csv("renewals.csv")
churned = rows.pop("churned")
words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
model = make_pipeline(
    make_column_transformer((words, ["country", "plan"]), remainder="passthrough"),
    HistGradientBoostingClassifier(random_state=1, max_iter=60),
).fit(rows, churned)
print(trivet.push(model, "churn", sample=rows, labels=churned, features="customers.ml.ChurnFeatures", message="anew"))
