"""What is said of models in the tests' own project."""

import trivet
from tests.shop.models import Subscriber
from trivet import f


class RenewalFeatures(trivet.FeatureSet):
    """What a subscriber is asked with."""

    plan = f.Category("plan", choices=["free", "pro"], unknown="reject")

    class Meta:
        model = Subscriber
        fields = ["seats"]


class Renewal(trivet.Predictor):
    """Whether a subscriber stays."""

    features = RenewalFeatures
