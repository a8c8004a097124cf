"""Tests of the shop. None of them needs a model, its file or the library that trained it."""

from datetime import UTC, datetime

from django.test import TestCase
from django.urls import reverse

from customers.models import Customer, Plan
from trivet.testing import PredictionAssertions, override_predictor


class RenewalTests(PredictionAssertions, TestCase):
    """Who is at risk is called."""

    def setUp(self) -> None:
        """Have a customer."""
        joined = datetime(2025, 1, 1, tzinfo=UTC)
        plan = Plan.objects.create(slug="pro")
        self.customer = Customer.objects.create(
            name="Firm", country="AT", plan=plan, seats=3, monthly_fee=87, joined_at=joined
        )
        self.page = reverse("renew", args=[self.customer.pk])

    @override_predictor("churn", returns=0.93)
    def test_a_customer_at_risk_is_called(self) -> None:
        """The page says so, and one prediction was asked for."""
        self.assertContains(self.client.get(self.page), "Call them")
        self.assertPredicted("churn", instance=self.customer, times=1)

    @override_predictor("churn", returns=0.1)
    def test_another_is_left_in_peace(self) -> None:
        """The page says nothing of it."""
        self.assertNotContains(self.client.get(self.page), "Call them")
