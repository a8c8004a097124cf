"""What is in the prediction log, read without our own code, against what the threads of a `Load` have read."""

from __future__ import annotations

from tests.acceptance.conftest import Churn
from tests.acceptance.databases import rows_of
from tests.acceptance.servers import Load, drained, trivet


def ids_read(load: Load) -> list[str]:
    """Return the prediction ids that the clients read, after making sure that nothing failed that may not.

    Connections to what is killed may. So may requests to a worker that ends because its supervisor was killed.
    """
    assert not [failure for failure in drained(load.failures) if "this worker is shutting down" not in failure]
    return [answer["parameters"]["prediction_id"] for _, _, answer in drained(load.answers)]


def assert_every_answer_is_logged_once(churn: Churn, read: list[str]) -> None:
    """Let the keeper finish; fail where an answer that was read is missing, or is there twice."""
    trivet("keeper", "--once", project=churn.project)
    logged = log_ids(churn)
    assert not set(read) - set(logged), "answers that a client read and the log lacks"
    assert len(logged) == len(set(logged)), "answers that are logged twice"
    assert len(read) == len(set(read))


def log_ids(churn: Churn) -> list[str]:
    """Return the prediction ids in the log."""
    rows = [
        (str(i).replace("-", ""),) for (i,) in rows_of(churn.project, "select prediction_id from trivet_prediction")
    ]
    return [f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}" for (i,) in rows]
