"""What the shop's model is asked with, and what its answers mean."""

from datetime import timedelta

from django.db.models import Q

import trivet
from customers.models import Customer
from trivet import f


class ChurnFeatures(trivet.FeatureSet):
    """What is known of a customer who is asked to renew."""

    plan = f.Category("plan__slug", choices=["free", "pro", "team"])
    orders_90d = f.Count("orders", where=Q(placed_at__gte=f.as_of - timedelta(days=90)), title="orders of 90 days")
    tenure_days = f.DaysSince("joined_at", unit="days")

    class Meta:
        """Columns that are taken as they are."""

        model = Customer
        fields = ["country", "seats", "monthly_fee"]


class Churn(trivet.Predictor):
    """Will this customer leave?"""

    features = ChurnFeatures
    output = f.Probability("churned")

    class Meta:
        """For people."""

        title = "Churn risk"
