"""The oracle: a process of its own that unpickles originals and asks them. It knows nothing of Trivet.

`python oracle.py FOLDER` reads every `NAME.pickle` there, a dictionary with `model` (pickled again) and `rows` (a list),
and writes `NAME.answers`, a list with, for each, what the original says by method, or the text of its refusal.
"""

import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

METHODS = ("predict", "predict_proba", "decision_function", "transform")


def asked(model, rows):
    """Return the original's answers by method, or the first refusal as text."""
    answers = {}
    for method in METHODS:
        if not hasattr(model, method):
            continue
        try:
            answers[method] = np.asarray(getattr(model, method)(rows))
        except Exception as error:  # noqa: BLE001  (whatever it raises, it is a refusal)
            return f"{method}: {type(error).__name__}: {error}"[:300]
    return answers


def main(folder):
    warnings.simplefilter("ignore")
    for file in sorted(Path(folder).glob("*.pickle")):
        question = pickle.loads(file.read_bytes())
        model = pickle.loads(question["model"])
        answers = [None if rows is None else asked(model, rows) for rows in question["rows"]]
        file.with_suffix(".answers").write_bytes(pickle.dumps(answers))


if __name__ == "__main__":
    with threadpool_limits(1):
        main(sys.argv[1])
