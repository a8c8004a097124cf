"""Customers in the admin."""

from django.contrib import admin

from customers.models import Customer


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):
    """A list of customers."""

    list_display = ["name", "country", "plan", "seats", "renewed_at", "churn_risk"]
    list_select_related = ["plan"]
