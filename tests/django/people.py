"""People of a project, for tests of what they may do: made, granted, signed in."""

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from trivet.control.registry import actions


def person(*permissions, name="ben", **facts):
    """Return a user with these Django permissions."""
    user = get_user_model().objects.create_user(name, password="a long pass phrase", **facts)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def again(user):
    """Return the same user, as the next request would: what was read of them is read anew."""
    return get_user_model().objects.get(pk=user.pk)


def grant(who, model, *verbs):
    return actions.grant(to=who, model=model, verbs=verbs, actor="cli:ana")


def browser(user):
    client = Client(headers={"accept": "text/html"})
    client.force_login(user)
    return client
