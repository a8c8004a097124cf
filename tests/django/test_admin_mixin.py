"""The admin of a project's own models: what a model said of each row, and asking it, for who may."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import clear_url_caches, include, path

import django
from tests.django.declared import declaring, feature_set, predictor
from tests.django.people import browser, grant, person
from tests.django.worlds import MADE_AT, ready, record
from tests.shop.models import Customer, Subscriber
from trivet import f
from trivet.admin import PredictionAdminMixin, mixin, prediction_column
from trivet.admin.said import Meaning, in_words
from trivet.control.predictions.shipping import ship
from trivet.control.registry import actions
from trivet.control.scoring.models import ScoringRun
from trivet.testing import outbox, override_predictor

pytestmark = pytest.mark.django_db

SITE, OTHER, PLAIN = (admin.AdminSite(name) for name in ("own", "other", "plain"))
LIST, CUSTOMERS = "/own/shop/subscriber/", "/own/shop/customer/"


@admin.register(Subscriber, site=SITE)
class SubscriberAdmin(PredictionAdminMixin, admin.ModelAdmin):
    """Of whom a column of their own table says something."""

    predictors = ("renewal",)
    list_display = ("seats", prediction_column("renewal"))
    list_filter = ("plan",)


@admin.register(Customer, site=SITE)
class CustomerAdmin(PredictionAdminMixin, admin.ModelAdmin):
    """Of whom the log alone does."""

    predictors = ("churn",)
    list_display = ("country", prediction_column("churn"))
    fieldsets = ((None, {"fields": ("country", "seats")}),)


@admin.register(Customer, site=OTHER)
class Careless(PredictionAdminMixin, admin.ModelAdmin):
    """Shows what it should ask about first, names no predictors, and has the column where no column is."""

    list_display = ("country", prediction_column("churn"))
    readonly_fields = (prediction_column("churn"),)

    def get_list_display(self, request: Any) -> Any:
        return self.list_display


@admin.register(Customer, site=PLAIN)
class Plain(admin.ModelAdmin):
    """Without the mixin."""

    list_display = ("country", prediction_column("churn"))


urlpatterns = [
    path("own/", SITE.urls),
    path("other/", OTHER.urls),
    path("plain/", PLAIN.urls),
    path("trivet/", include("trivet.console.urls")),
]


@pytest.fixture(autouse=True)
def _own_site(settings: Any):
    settings.ROOT_URLCONF = __name__
    clear_url_caches()
    yield
    clear_url_caches()


@pytest.fixture
def _stubbed():
    with override_predictor("renewal", returns=lambda features: features["seats"] / 100):
        yield


def staff(*permissions: str, name: str = "ben") -> Client:
    return browser(person(*permissions, name=name, is_staff=True))


def chosen(client: Client, rows: Any, *, action: str = "trivet_score_renewal", where: str = LIST) -> Any:
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(where, data, follow=True)


def messages_of(page: Any) -> list[str]:
    return [str(one) for one in page.context["messages"]]


@pytest.mark.usefixtures("_stubbed")
def test_chosen_rows_are_scored_into_their_column_and_the_others_are_left_alone():
    rows = [Subscriber.objects.create(seats=seats) for seats in (10, 20, 30)]
    page = chosen(staff("view_subscriber", "change_subscriber", "predict"), rows[:2])
    assert messages_of(page) == ["Scored 2 rows with renewal."]
    assert list(Subscriber.objects.order_by("pk").values_list("staying", flat=True)) == [0.1, 0.2, None]
    (run,) = ScoringRun.objects.all()
    assert (run.actor, run.done) == ("user:ben", 2)
    assert {asked.entity_key for asked in outbox} == {f"shop.subscriber:{row.pk}" for row in rows[:2]}


@pytest.mark.usefixtures("_stubbed")
def test_a_row_that_is_refused_is_told_and_the_others_are_scored():
    rows = [Subscriber.objects.create(seats=10), Subscriber.objects.create(seats=10, plan="nonsense")]
    page = chosen(staff("view_subscriber", "change_subscriber", "predict"), rows)
    assert messages_of(page) == ["Scored 1 rows with renewal. 1 were refused: see the scoring runs."]


@pytest.mark.usefixtures("_stubbed")
@pytest.mark.parametrize("permissions", [("predict", "view_subscriber"), ("view_subscriber", "change_subscriber")])
def test_who_may_not_is_offered_no_action_and_a_forged_one_is_403(permissions: tuple[str, ...]):
    row, client = Subscriber.objects.create(seats=10), staff(*permissions)
    assert "Score with renewal" not in client.get(LIST).content.decode()
    assert chosen(client, [row]).status_code == 403
    assert chosen(client, [row], action="trivet_score_nothing").status_code == 403
    row.refresh_from_db()
    assert (row.staying, [*outbox]) == (None, [])


@pytest.mark.usefixtures("_stubbed")
def test_a_grant_for_the_one_model_is_enough():
    ready(model="renewal")
    row, user = Subscriber.objects.create(seats=10), person("view_subscriber", "change_subscriber", is_staff=True)
    grant(f"user:{user.username}", "renewal", "predict")
    assert "Score with renewal" in browser(user).get(LIST).content.decode()
    assert chosen(browser(user), [row]).status_code == 200
    assert Subscriber.objects.get().staying == 0.1


@pytest.mark.usefixtures("_stubbed")
def test_more_rows_than_a_page_waits_for_are_for_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mixin, "MOST_AT_ONCE", 1)
    rows = [Subscriber.objects.create(seats=seats) for seats in (10, 20)]
    page = chosen(staff("view_subscriber", "change_subscriber", "predict"), rows)
    (said,) = messages_of(page)
    assert said.endswith(
        "In a shell, for all rows of the table that are stale: trivet score renewal shop.Subscriber --apply"
    )
    assert not ScoringRun.objects.exists()


@pytest.mark.usefixtures("_stubbed")
@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 5.2 has no tasks of its own")
def test_more_rows_are_for_a_task_where_there_are_workers(monkeypatch: pytest.MonkeyPatch):
    from trivet import tasks

    monkeypatch.setattr(mixin, "MOST_AT_ONCE", 1)
    enqueued: list[Any] = []
    later = SimpleNamespace(get_backend=Queue, enqueue=lambda *words, **said: enqueued.append((words, said)))
    monkeypatch.setattr(tasks, "score", later)
    rows = [Subscriber.objects.create(seats=seats) for seats in (10, 20, 30)]
    page = chosen(staff("view_subscriber", "change_subscriber", "predict"), rows[:2])
    assert messages_of(page) == ["2 rows are scored with renewal by a task, as soon as a worker takes it."]
    keys = set(enqueued[0][1].pop("where")["pk__in"].split(","))
    assert keys == {str(row.pk) for row in rows[:2]}
    assert enqueued == [(("renewal", "shop.Subscriber"), {"only_stale": False, "user": "ben"})]


@pytest.mark.usefixtures("_stubbed")
@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 5.2 has no tasks of its own")
def test_where_requests_are_transactions_a_task_does_it_whatever_the_number(monkeypatch: pytest.MonkeyPatch):
    from trivet import tasks

    enqueued: list[Any] = []
    monkeypatch.setattr(
        tasks, "score", SimpleNamespace(get_backend=Queue, enqueue=lambda *words, **_: enqueued.append(words))
    )
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    chosen(staff("view_subscriber", "change_subscriber", "predict"), [Subscriber.objects.create(seats=10)])
    assert enqueued == [("renewal", "shop.Subscriber")]


class Queue:
    """A backend that has workers."""


@pytest.mark.usefixtures("_stubbed")
def test_what_stands_in_the_way_is_said_in_words():
    row = Subscriber.objects.create(seats=10)
    ScoringRun.objects.create(
        model="renewal", version=0, table="shop.subscriber", field="staying", batch_size=1, total=1, holder="1:1:here",
        actor="cli:ana", features_hash="", question="other", claim="00000000-0000-0000-0000-000000000000",
    )  # fmt: skip
    (said,) = messages_of(chosen(staff("view_subscriber", "change_subscriber", "predict"), [row]))
    assert "is under way: cli:ana began it" in said


def test_a_column_is_shown_sorted_and_filtered_without_a_query_a_row(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mixin, "meaning_of", lambda _model: Meaning(is_share=True))
    client = staff("view_subscriber")
    for score in (0.5, 0.1, None, 0.996, 0.7):
        Subscriber.objects.create(seats=10, staying=score)
    assert column(client.get(f"{LIST}?o=-1.0")) == ["&gt; 99 %", "70 %", "50 %", "10 %", "-"]
    assert column(client.get(f"{LIST}?said_by_renewal=high&o=1")) == ["70 %", "&gt; 99 %"]
    assert column(client.get(f"{LIST}?said_by_renewal=low")) == ["10 %"]
    assert column(client.get(f"{LIST}?said_by_renewal=medium")) == ["50 %"]
    assert column(client.get(f"{LIST}?said_by_renewal=none")) == ["-"]
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get(LIST)
    Subscriber.objects.bulk_create(Subscriber(seats=1, staying=0.2) for _ in range(20))
    with CaptureQueriesContext(connection) as many:
        client.get(LIST)
    assert len(many) == len(few)


def column(page: Any, name: str = "renewal") -> list[str]:
    cells = re.findall(rf'<td class="field-{name}[^"]*">(.*?)</td>', page.content.decode())
    return [re.sub("<[^>]*>", "", cell).strip() for cell in cells]


def world() -> list[Customer]:
    """Make two customers, of one of whom the champion has said something, and of another one who is nobody's."""
    (version,) = ready()
    actions.promote(model="churn", version=1, actor="cli:ana")
    customers = [Customer.objects.create(country=country) for country in ("DE", "FR")]
    ship([record(version, entity_key=f"shop.customer:{customers[0].pk}", made_at=MADE_AT)])
    return customers


def test_without_a_column_the_log_says_it_to_who_may_see_that():
    said, silent = world()
    client = staff("view_customer", "view_predictions", "view_registeredmodel")
    assert column(client.get(f"{CUSTOMERS}?o=-1"), "churn") == ["75 %", "-"]
    assert column(client.get(f"{CUSTOMERS}?o=1"), "churn") == ["-", "75 %"]
    assert column(client.get(f"{CUSTOMERS}?said_by_churn=high"), "churn") == ["75 %"]
    page = client.get(f"{CUSTOMERS}{said.pk}/change/").content.decode()
    assert re.search(
        r"75 % churned · churn 1 · .* ago · <a href=\"/trivet/predictions/[^\"]+\">was it right\?</a>", page
    )
    assert "was it right?" not in client.get(f"{CUSTOMERS}{silent.pk}/change/").content.decode()


def test_a_share_is_that_of_the_class_that_is_asked_about_whatever_was_decided():
    (version,) = ready()
    actions.promote(model="churn", version=1, actor="cli:ana")
    customer = Customer.objects.create()
    stays = [["stays"], [0.75, 0.25]]
    ship([record(version, entity_key=f"shop.customer:{customer.pk}", outputs=stays)])
    page = staff("view_customer", "view_predictions").get(f"{CUSTOMERS}{customer.pk}/change/").content.decode()
    assert "25 % churned · churn 1" in page


def test_where_the_first_class_is_declared_list_filter_and_page_are_about_that_one():
    said, _silent = world()
    client = staff("view_customer", "view_predictions")
    with declaring():
        predictor("churn", output=f.Probability("stays"))
        assert column(client.get(f"{CUSTOMERS}?o=-1"), "churn") == ["25 %", "-"]
        assert column(client.get(f"{CUSTOMERS}?said_by_churn=low"), "churn") == ["25 %"]
        assert "25 % stays · churn 1" in client.get(f"{CUSTOMERS}{said.pk}/change/").content.decode()


@pytest.mark.parametrize("where", ["other", "plain"])
def test_a_column_in_a_place_of_its_own_says_nothing_to_who_may_not_see_the_log(where: str):
    said, _silent = world()
    client, rows = staff("view_customer"), f"/{where}/shop/customer/"
    orders = [
        re.findall(r"field-country[^>]*>(?:<a[^>]*>)?(\w+)", client.get(f"{rows}?o={o}").content.decode())
        for o in ("1", "-1")
    ]
    assert orders == [["DE", "FR"], ["FR", "DE"]]  # by their keys; by what was said it would be the other way round
    assert column(client.get(f"{rows}?o=-1"), "churn") == ["-", "-"]
    assert "75 %" not in client.get(f"{rows}{said.pk}/change/").content.decode()


def test_a_column_alone_is_enough_to_be_shown():
    world()
    client = staff("view_customer", "view_predictions")
    assert column(client.get("/other/shop/customer/?o=-1"), "churn") == ["75 %", "-"]


def test_the_page_says_what_the_column_says():
    (version,) = ready(model="renewal")
    with declaring():
        predictor("renewal")  # without features, of which the version has others than the class of this project
        actions.promote(model="renewal", version=1, actor="cli:ana")
    row = Subscriber.objects.create(seats=10, staying=0.2, staying_version=1)
    ship([record(version, entity_key=f"shop.subscriber:{row.pk}")])
    client = staff("view_subscriber", "view_predictions")
    assert column(client.get(LIST)) == ["20 %"]
    page = client.get(f"{LIST}{row.pk}/change/").content.decode()
    assert re.search(r"20 % churned · renewal 1 · <a [^>]*>was it right", page)


def test_who_may_not_see_the_log_sees_neither_column_nor_filter_nor_badge():
    said, _silent = world()
    client = staff("view_customer")
    page = client.get(CUSTOMERS).content.decode()
    assert "DE" in page
    assert "75 %" not in page
    assert "said_by_churn" not in page
    assert "churn" not in client.get(f"{CUSTOMERS}{said.pk}/change/").content.decode()
    assert client.get(f"{CUSTOMERS}?said_by_churn=high").status_code == 302  # as of any parameter that is not known


def test_rows_without_a_column_are_asked_into_the_log():
    customer = Customer.objects.create(seats=3)
    with declaring(), override_predictor("churn", returns=0.9):
        predictor("churn", features=feature_set(Customer, "seats"))
        page = chosen(
            staff("view_customer", "change_customer", "predict"),
            [customer],
            action="trivet_score_churn",
            where=CUSTOMERS,
        )
    assert messages_of(page) == ["Scored 1 rows with churn."]
    assert [asked.entity_key for asked in outbox] == [f"shop.customer:{customer.pk}"]


def test_a_row_is_saved_with_the_badge_on_its_page_and_added_without_one():
    row = Subscriber.objects.create(seats=10, staying=0.25, staying_version=3)
    client = staff("view_subscriber", "change_subscriber", "add_subscriber")
    page = client.get(f"{LIST}{row.pk}/change/").content.decode()
    assert "0.25 · renewal 3" in page
    assert "renewal" not in client.get(f"{LIST}add/").content.decode().partition("<form")[2]
    assert client.post(f"{LIST}{row.pk}/change/", {"seats": 11, "plan": "pro", "guess": 1}).status_code == 302
    row.refresh_from_db()
    assert (row.seats, row.staying) == (11, 0.25)


@pytest.mark.parametrize(
    ("score", "share", "words"),
    [
        (0.833, True, "83 %"),
        (0.0, True, "0 %"),
        (0.004, True, "< 1 %"),
        (0.999, True, "> 99 %"),
        (1.0, True, "100 %"),
        (0.83333, False, "0.8333"),
        (-2.0, False, "-2"),
        (1234567.8, False, "1234568"),
        (None, False, "-"),
    ],
)
def test_a_score_is_read_as_a_share_or_as_a_number(score: float | None, share: bool, words: str):
    assert in_words(score, share=share) == words


def test_a_name_in_place_of_several_is_told():
    with pytest.raises(TypeError, match=r"write \['churn'\]"):
        type("Wrong", (PredictionAdminMixin, admin.ModelAdmin), {"predictors": "churn"})


def test_the_checks_of_the_admin_have_nothing_to_say():
    assert not SITE.get_model_admin(Subscriber).check()
    assert not SITE.get_model_admin(Customer).check()
