"""The page on which a customer renews."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

import trivet
from customers.models import Customer


def renew(request: HttpRequest, number: int) -> HttpResponse:
    """Show what a customer pays, and whether to offer a call."""
    customer = get_object_or_404(Customer.objects.select_related("plan"), pk=number)
    risk = trivet.predict("churn", customer)
    return render(request, "customers/renew.html", {"customer": customer, "risk": risk})
