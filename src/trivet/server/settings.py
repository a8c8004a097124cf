"""The settings of the ready-made server. The environment, or the project's `.env` file, gives what is secret or local."""

from __future__ import annotations

import os

from django.core.exceptions import ImproperlyConfigured

from trivet.server.environment import (
    database,
    is_loopback,
    listed,
    load_env_file,
    mail,
    project_folder,
    trivet_settings,
)

BASE_DIR = project_folder()
WRITTEN = load_env_file(BASE_DIR / ".env")

SECRET_KEY = os.environ.get("SECRET_KEY", "")
if not SECRET_KEY:
    raise ImproperlyConfigured(f"no SECRET_KEY in {BASE_DIR / '.env'} nor in the environment; `trivet init` makes one.")
SECRET_KEY_FALLBACKS = listed(os.environ.get("SECRET_KEY_FALLBACKS", ""))
DEBUG = False
ALLOWED_HOSTS = listed(os.environ.get("ALLOWED_HOSTS", ".localhost,127.0.0.1,[::1]"))
CSRF_TRUSTED_ORIGINS = listed(os.environ.get("CSRF_TRUSTED_ORIGINS", ""))

INSTALLED_APPS = [
    "trivet",
    "trivet.server",  # for its `ml.py`, which imports the project's
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
]
MIDDLEWARE = [
    "trivet.server.middleware.headers_middleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "trivet.server.urls"
WSGI_APPLICATION = "trivet.server.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": database(
        os.environ.get("DATABASE_URL", ""),
        BASE_DIR / "db.sqlite3",
        survives_power_loss=os.environ.get("TRIVET_DURABILITY") == "power",
    )
}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if redis_url := os.environ.get("REDIS_URL"):
    CACHES["redis"] = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis_url}
globals().update(mail(os.environ.get("EMAIL_URL", "smtp://localhost:25")))
DEFAULT_FROM_EMAIL = os.environ.get("DEFAULT_FROM_EMAIL", "trivet@localhost")
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # no collectstatic step; the files are those of the installed packages
LOGIN_URL = "trivet:login"
LOGIN_REDIRECT_URL = "trivet:overview"
SESSION_COOKIE_HTTPONLY = True
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
if os.environ.get("TRIVET_PUBLIC_URL", "").startswith("https://"):
    # People come by a proxy that speaks TLS: it sends them there and says so for later (HSTS); here all of it is HTTP.
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008"]
elif is_loopback(os.environ.get("TRIVET_BIND", "")):
    # People come from this machine alone, so there is no network on which a cookie could be read.
    SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008", "security.W012", "security.W016"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {
            "()": "trivet.server.logs.OneLine",
            "format": "{asctime} {levelname} {name} {message}",
            "style": "{",
        }
    },
    "handlers": {"stderr": {"class": "trivet.core.log_sink.LogSink", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("LOG_LEVEL", "WARNING")},
}

globals().update(
    trivet_settings(
        {
            "TRIVET_HOME": str,
            "TRIVET_BIND": str,
            "TRIVET_WORKERS": int,
            "TRIVET_WEB_THREADS": int,
            "TRIVET_PREFIX": str,
            "TRIVET_PUBLIC_URL": str,
            "TRIVET_MAX_BODY_MB": int,
            "TRIVET_MAX_ROWS": int,
            "TRIVET_REQUIRE_KEY": bool,
            "TRIVET_RATE_LIMIT": str,
            "TRIVET_KEY_PEPPER": str,
            "TRIVET_KEY_PEPPER_FALLBACKS": tuple,
            "TRIVET_REQUIRE_SIGNATURE": bool,
            "TRIVET_TRUSTED_KEYS": tuple,
            "TRIVET_APPROVALS": int,
            "TRIVET_SPOOL_MB": int,
            "TRIVET_SPOOL_FULL": str,
            "TRIVET_DURABILITY": str,
            "TRIVET_MODELS_MEMORY_MB": int,
            "TRIVET_LOG_INPUTS": float,
            "TRIVET_INPUT_RETENTION_DAYS": int,
            "TRIVET_LOG_RETENTION_DAYS": int,
            "TRIVET_KEEPER": str,
            "TRIVET_LEASE_SECONDS": float,
            "TRIVET_DEADLINE_SECONDS": float,
            "TRIVET_QUEUE_LENGTH": int,
            "TRIVET_WORKER_MEMORY_MB": int,
            "TRIVET_INLINE_LIMIT_MS": float,
            "TRIVET_CACHE": str,
            "TRIVET_CACHE_MB": int,
            "TRIVET_SHARED_CACHE": str,
            "TRIVET_METRICS_ALIASES": tuple,
            "TRIVET_ALERT_EMAILS": tuple,
            "TRIVET_ALERT_WEBHOOKS": tuple,
            "TRIVET_FALSE_ALARM_DAYS": int,
            "TRIVET_LABELS_MATURE_HOURS": int,
            "TRIVET_WEBHOOK_SECRET": str,
            "TRIVET_ACCESS_LOG": bool,
            "TRIVET_TRACING": bool,
        },
        WRITTEN,
    )
)
