"""A small real model, compiled once, and people with and without permissions."""

import numpy as np
import pandas as pd
import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from trivet.control.registry import actions
from trivet.model.bundle.bundle import Bundle
from trivet.serving import process


@pytest.fixture(scope="session")
def parcels() -> Bundle:
    """Return a pipeline that tells whether a parcel comes late, from a number, a number that may miss, and a word."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    from trivet.model.compile.compiler import compile_model

    random = np.random.default_rng(7)
    table = pd.DataFrame(
        {
            "kilometres": random.uniform(1, 900, 300),
            "weight": np.where(random.random(300) < 0.2, np.nan, random.uniform(0.1, 30, 300)),
            "carrier": random.choice(["bike", "truck", "O'Hare & <Sons>"], 300),
        }
    )
    late = np.where(table["kilometres"] + random.normal(0, 150, 300) > 450, "late", "on time")
    prepare = ColumnTransformer(
        [
            ("numbers", SimpleImputer(), ["kilometres", "weight"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
        ]
    )
    return compile_model(make_pipeline(prepare, LogisticRegression(max_iter=500)).fit(table, late), sample=table).bundle


@pytest.fixture
def live_parcels(parcels, transactional_db, settings):
    """Register the model and make it live; end the process that answers when the test ends."""
    settings.TRIVET_KEEPER = "external"
    actions.register_version(name="parcels", bundle=parcels, actor="cli:ana", source="parcels.joblib")
    actions.mark_ready(model="parcels", version=1, actor="process:probe", cost_us_per_row=12.34)
    actions.promote(model="parcels", version=1, actor="user:ana", reason="first")
    yield parcels
    if process._process is not None:
        process._process.stop()
        process._process = None


@pytest.fixture
def client():
    """A browser: it asks for pages, where the ready-made server tells others that it is alive."""
    return Client(headers={"accept": "text/html"})


@pytest.fixture
def signed_in(django_user_model, client):
    """Return a function that signs in somebody with the given permissions."""

    def sign_in(*permissions, username="ben"):
        user = django_user_model.objects.create_user(username, password="a long pass phrase")
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return sign_in
