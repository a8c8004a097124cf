"""Customers in the admin."""

from django.contrib import admin

from customers.models import Customer
from trivet.admin import PredictionAdminMixin, prediction_column


@admin.register(Customer)
class CustomerAdmin(PredictionAdminMixin, admin.ModelAdmin):
    """A list of customers, with what the model says of each, and an action that asks it."""

    predictors = ["churn"]
    list_display = ["name", "country", "plan", "seats", "renewed_at", prediction_column("churn")]
    list_select_related = ["plan"]
