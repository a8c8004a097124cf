"""The ready-made server as a WSGI application, for servers that speak that: `trivet.server.wsgi:application`."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from trivet.serving.wsgi import in_front_of

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trivet.server.settings")
application = in_front_of(get_wsgi_application())
