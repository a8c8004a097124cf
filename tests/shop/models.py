"""Rows that say what predictions came true as."""

import uuid

from django.db import models

import trivet


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


class Plan(models.Model):
    """What a customer pays for."""

    slug = models.SlugField()

    def __str__(self) -> str:
        return self.slug


class Customer(models.Model):
    """Somebody who may leave."""

    left_at = models.DateTimeField(null=True)
    joined_at = models.DateTimeField(null=True)
    born_on = models.DateField(null=True)
    email = models.EmailField(blank=True)
    country = models.CharField(max_length=2, default="DE")
    seats = models.IntegerField(default=1)
    discount = models.IntegerField(null=True)
    is_invoiced = models.BooleanField(default=False)
    plan = models.ForeignKey(Plan, models.CASCADE, null=True)
    friends = models.ManyToManyField("self", symmetrical=False, related_name="friend_of")

    def __str__(self) -> str:
        return str(self.pk)


class Order(models.Model):
    """Of which a customer has many."""

    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    is_refunded = models.BooleanField(default=False)
    total = models.DecimalField(max_digits=9, decimal_places=2)
    items = models.IntegerField(default=1)
    placed_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return str(self.pk)


class Ticket(models.Model):
    """Of which a customer has many, too."""

    customer = models.ForeignKey(Customer, models.CASCADE, related_name="tickets")
    subject = models.CharField(max_length=40)
    opened_on = models.DateField()
    hours = models.FloatField(null=True)

    def __str__(self) -> str:
        return self.subject


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


class Crate(Parcel):
    """A parcel with a table of its own beside, and the parent's key."""


class Insured(models.Model):
    """What somebody pays for if it is lost; under a key that is not called id."""

    policy = models.AutoField(primary_key=True)
    cover = models.IntegerField()

    def __str__(self) -> str:
        return str(self.policy)


class InsuredCustomer(Customer, Insured):
    """A row of two tables, with a key in each, of which the first one's is its own."""


class Delay(models.Model):
    """Of a flight that is named by its code."""

    flight = models.ForeignKey(Flight, models.CASCADE, to_field="code")

    def __str__(self) -> str:
        return self.flight_id


class Subscriber(models.Model):
    """Somebody of whom a column says how likely they stay."""

    seats = models.IntegerField(null=True)
    plan = models.CharField(max_length=10, default="free")
    staying = trivet.PredictedField("renewal")
    guess = models.FloatField(null=True)

    def __str__(self) -> str:
        return str(self.pk)


class Voucher(models.Model):
    """Of which the key is no number, and the order is not that in which they were made."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    worth = models.FloatField(default=1.0)
    guess = models.FloatField(null=True)

    def __str__(self) -> str:
        return str(self.pk)


class Printed(Voucher):
    """A voucher with a table of its own beside, and the parent's key and columns."""
