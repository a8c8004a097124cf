"""Rows that say what predictions came true as."""

import uuid

from django.db import models


class Flight(models.Model):
    """What is known of one flight; nothing before it landed."""

    code = models.CharField(max_length=20, unique=True)
    carrier = models.CharField(max_length=3, default="UA")
    arr_delay = models.FloatField(null=True)
    landed_at = models.DateTimeField(null=True)
    flown_on = models.DateField(null=True)

    def __str__(self) -> str:
        return self.code


class Charter(Flight):
    """A flight with a table of its own beside."""

    class Meta:
        verbose_name = "charter"


class Shuttle(Flight):
    """A flight by another name."""

    class Meta:
        proxy = True


class Customer(models.Model):
    """Somebody who may leave."""

    left_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return str(self.pk)


class Order(models.Model):
    """Of which a customer has many."""

    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    is_refunded = models.BooleanField(default=False)
    total = models.DecimalField(max_digits=9, decimal_places=2)

    def __str__(self) -> str:
        return str(self.pk)


class Contract(models.Model):
    """Of which a customer has one or none."""

    customer = models.OneToOneField(Customer, models.CASCADE, related_name="contract")
    fee = models.DecimalField(max_digits=9, decimal_places=2, null=True)
    ended = models.BooleanField(default=False)

    def __str__(self) -> str:
        return str(self.pk)


class Parcel(models.Model):
    """What is sent, under a key that is no number."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    order = models.ForeignKey(Order, models.CASCADE)

    def __str__(self) -> str:
        return str(self.pk)
