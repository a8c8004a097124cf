"""`manage.py fill_shop`: customers and orders, made up and always the same ones."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand
from django.db import transaction

from customers.models import Customer, Order, Plan

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
FEES = {"free": 0, "pro": 29, "team": 99}
COUNTRIES = ["AT", "CH", "DE", "FR"]
BATCH = 2000


class Command(BaseCommand):
    """Fill the shop."""

    help = "make up customers and their orders"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take how many."""
        parser.add_argument("--customers", type=int, default=5000)
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, *, customers: int, seed: int, **_: Any) -> None:
        """Replace whatever is there."""
        rng = np.random.default_rng(seed)
        with transaction.atomic():
            Order.objects.all().delete()
            Customer.objects.all().delete()
            plans = [Plan.objects.get_or_create(slug=slug)[0] for slug in FEES]
            for start in range(0, customers, BATCH):
                some = _customers(range(start, min(start + BATCH, customers)), plans, rng)
                Customer.objects.bulk_create(customer for customer, _ in some)
                Order.objects.bulk_create(
                    (order for customer, days in some for order in _orders(customer, days, rng)), batch_size=BATCH
                )
        self.stdout.write(f"{customers:,} customers, {Order.objects.count():,} orders")


def _customers(numbers: range, plans: list[Plan], rng: np.random.Generator) -> list[tuple[Customer, np.ndarray]]:
    """Return customers, each with how many days before noon its orders were placed. Who orders little leaves more often."""
    return [_customer(number, plans[rng.choice(3, p=[0.5, 0.35, 0.15])], rng) for number in numbers]


def _customer(number: int, plan: Plan, rng: np.random.Generator) -> tuple[Customer, np.ndarray]:
    renewed, tenure = rng.uniform(1, 200), rng.uniform(20, 1500)
    ordered = rng.uniform(0, min(renewed + tenure, 400), rng.poisson(rng.gamma(1.5, 4)))
    seats = int(rng.integers(1, 60))
    recent = int(np.count_nonzero((ordered >= renewed) & (ordered < renewed + 90)))
    leaning = 0.9 - 0.7 * recent - tenure / 900 + 0.8 * (plan.slug == "free") + 0.5 * (seats < 5)
    return (
        Customer(
            name=f"Firm {number}",
            country=COUNTRIES[rng.integers(len(COUNTRIES))],
            plan=plan,
            seats=seats,
            monthly_fee=Decimal(FEES[plan.slug] * seats),
            joined_at=NOON - timedelta(days=renewed + tenure),
            renewed_at=NOON - timedelta(days=renewed),
            churned=bool(rng.random() < 1 / (1 + np.exp(-leaning))),
        ),
        ordered,
    )


def _orders(customer: Customer, days: np.ndarray, rng: np.random.Generator) -> list[Order]:
    totals = rng.gamma(2, 40, len(days)).round(2)
    return [
        Order(customer=customer, placed_at=NOON - timedelta(days=day), total=Decimal(str(total)))
        for day, total in zip(days.tolist(), totals.tolist(), strict=True)
    ]
