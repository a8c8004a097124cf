"""Who buys, and what."""

from django.db import models

import trivet


class Plan(models.Model):
    """What customers pay for."""

    slug = models.SlugField(unique=True)

    def __str__(self) -> str:
        return self.slug


class Customer(models.Model):
    """A firm that renews its plan each year, or leaves."""

    name = models.CharField(max_length=80)
    country = models.CharField(max_length=2)
    plan = models.ForeignKey(Plan, models.PROTECT)
    seats = models.PositiveIntegerField()
    monthly_fee = models.DecimalField(max_digits=8, decimal_places=2)
    joined_at = models.DateTimeField()
    renewed_at = models.DateTimeField(null=True, help_text="when it was last asked to renew")
    churned = models.BooleanField(null=True, help_text="whether it left then; empty before it is known")
    churn_risk = trivet.PredictedField("churn")

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """What a customer bought beside its plan."""

    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    placed_at = models.DateTimeField()
    total = models.DecimalField(max_digits=9, decimal_places=2)

    def __str__(self) -> str:
        return f"{self.total} of {self.customer_id}"
