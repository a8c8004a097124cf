"""Visits the admin of the shop, run in its folder: `chooses` has rows scored by who may and by who may not, `looks` reads."""

import os
import re
import sys
from html import unescape
from pathlib import Path

import django

sys.path.insert(0, str(Path.cwd()))
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()

from django.contrib.auth.models import Permission, User  # noqa: E402
from django.test import Client  # noqa: E402

from customers.models import Customer  # noqa: E402

LIST = "/admin/customers/customer/"
CHOSEN = 50


def signed_in(user):
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


def chooses():
    may = User.objects.create_superuser("ana")
    may_not = User.objects.create_user("ben", is_staff=True)
    may_not.user_permissions.set(Permission.objects.filter(codename__in=["view_customer", "change_customer"]))
    keys = list(Customer.objects.values_list("pk", flat=True)[:CHOSEN])
    for user in (may, may_not):
        client = signed_in(user)
        offered = "Score with churn" in client.get(LIST).content.decode()
        page = client.post(LIST, {"action": "trivet_score_churn", "_selected_action": keys}, follow=True)
        said = re.findall(r'<li class="(?:success|warning|error)">(.*?)</li>', page.content.decode())
        print(user, "offered" if offered else "not offered", page.status_code, *map(unescape, said))


def looks():
    client = signed_in(User.objects.get(username="ana"))
    page = client.get(f"{LIST}?o=-6").content.decode()  # by the column, the largest first
    print("column", *re.findall(r'<td class="field-churn[^"]*">([^<]*)</td>', page), sep="|")
    page = client.get(f"{LIST}1/change/").content.decode()
    shown = re.findall(r'<div class="readonly">(.*?)</div>', page, re.DOTALL)
    print("badge", *(re.sub("<[^>]*>", "", one) for one in shown))


{"chooses": chooses, "looks": looks}[sys.argv[1]]()
