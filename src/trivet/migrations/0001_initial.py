"""The registry, the prediction log and the triggers that keep versions and Events as they were written.

The first migration: it may run before or after the code it comes with, which does nothing without it. Backwards it
removes every table and the log in them.
"""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from trivet.migrations import _immutability


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.CharField(max_length=8, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100)),
                ("hash", models.BinaryField()),
                ("grants", models.JSONField(help_text="Model name, or *, to a list of verbs.")),
                ("created_by", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
                ("last_used_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "API key",
                "verbose_name_plural": "API keys",
                "ordering": ["name", "created_at"],
                "permissions": [("manage_keys", "Can issue and revoke API keys")],
            },
        ),
        migrations.CreateModel(
            name="RegistryState",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("generation", models.BigIntegerField(default=0)),
            ],
            options={
                "verbose_name": "registry state",
                "verbose_name_plural": "registry state",
            },
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("id", models.CharField(max_length=100, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("web", "web worker"),
                            ("keeper", "keeper"),
                            ("process", "process that predicts"),
                            ("shell", "shell"),
                        ],
                        max_length=16,
                    ),
                ),
                ("host", models.CharField(max_length=255)),
                ("pid", models.PositiveIntegerField()),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("seen_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("generation", models.BigIntegerField(default=0, help_text="The newest it has acknowledged.")),
            ],
            options={
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
                "ordering": ["host", "kind", "pid"],
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("actor", models.CharField(max_length=200)),
                ("action", models.CharField(max_length=32)),
                ("model", models.CharField(blank=True, max_length=63)),
                ("version", models.PositiveIntegerField(null=True)),
                ("generation", models.BigIntegerField(unique=True)),
                ("before", models.JSONField(default=dict)),
                ("after", models.JSONField(default=dict)),
                ("reason", models.TextField(blank=True)),
            ],
            options={
                "verbose_name": "event",
                "verbose_name_plural": "events",
                "ordering": ["-generation"],
                "indexes": [models.Index(fields=["model", "-generation"], name="trivet_event_of_model")],
            },
        ),
        migrations.CreateModel(
            name="Prediction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("prediction_id", models.UUIDField(help_text="Of the request; with `row` it names this answer.")),
                ("row", models.PositiveIntegerField()),
                ("kind", models.CharField(max_length=16)),
                ("made_at", models.DateTimeField()),
                ("model", models.CharField(max_length=63)),
                ("version", models.PositiveIntegerField()),
                ("digest", models.CharField(max_length=64)),
                ("generation", models.BigIntegerField()),
                ("route", models.CharField(max_length=16)),
                ("caller", models.CharField(max_length=200)),
                ("door", models.CharField(max_length=16)),
                ("entity_key", models.CharField(blank=True, max_length=256)),
                ("request_id", models.CharField(blank=True, max_length=128)),
                ("caller_id", models.CharField(blank=True, help_text="The `id` the caller sent.", max_length=128)),
                ("inputs", models.JSONField(help_text="Name to value; null when they were not kept.", null=True)),
                (
                    "inputs_sha256",
                    models.CharField(blank=True, help_text="In place of inputs too large to keep.", max_length=64),
                ),
                ("output", models.JSONField()),
                ("score", models.FloatField(null=True)),
                ("decision", models.TextField(blank=True)),
                ("latency_us", models.PositiveIntegerField()),
                ("flags", models.JSONField(default=dict)),
                ("cached", models.BooleanField(default=False)),
            ],
            options={
                "verbose_name": "prediction",
                "verbose_name_plural": "predictions",
                "permissions": [
                    ("view_predictions", "Can see the prediction log without inputs"),
                    ("view_inputs", "Can see the inputs in the prediction log"),
                ],
                "indexes": [models.Index(fields=["model", "made_at"], name="trivet_prediction_of_model")],
                "constraints": [
                    models.UniqueConstraint(fields=("prediction_id", "row"), name="trivet_prediction_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="RegisteredModel",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(
                        max_length=63,
                        unique=True,
                        validators=[django.core.validators.RegexValidator("^[a-z0-9][a-z0-9._-]{0,62}\\Z")],
                    ),
                ),
                ("title", models.CharField(blank=True, max_length=200)),
                ("description", models.TextField(blank=True)),
                ("owner", models.CharField(blank=True, max_length=200)),
                ("anonymous", models.BooleanField(default=False, help_text="Answers `predict` without a key.")),
                (
                    "generation",
                    models.BigIntegerField(default=0, help_text="Of the last change to its routes or aliases."),
                ),
                (
                    "previous_champion",
                    models.PositiveIntegerField(help_text="Number of the version a rollback goes to.", null=True),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "model",
                "verbose_name_plural": "models",
                "ordering": ["name"],
                "permissions": [
                    ("predict", "Can ask a model"),
                    ("push", "Can register versions"),
                    ("promote", "Can move traffic"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("name__regex", "^[a-z0-9][a-z0-9._-]{0,62}\\Z")),
                        name="trivet_model_name_grammar",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("name__in", ("stats",)), _negated=True),
                        name="trivet_model_name_not_reserved",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ModelVersion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("digest", models.CharField(db_index=True, max_length=64)),
                ("runtime", models.CharField(max_length=32)),
                ("signature", models.JSONField()),
                ("manifest", models.JSONField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("registered", "registered"),
                            ("ready", "ready"),
                            ("rejected", "rejected"),
                            ("retired", "retired"),
                        ],
                        default="registered",
                        max_length=16,
                    ),
                ),
                ("status_reason", models.TextField(blank=True, help_text="What the probe found.")),
                ("note", models.TextField(blank=True, help_text="What its author said of it.")),
                ("author", models.CharField(max_length=200)),
                (
                    "source",
                    models.CharField(blank=True, help_text="Name of the file it was made from.", max_length=255),
                ),
                (
                    "sandbox",
                    models.CharField(blank=True, help_text="Level at which that file was opened.", max_length=32),
                ),
                ("parity", models.JSONField(blank=True, default=dict)),
                ("cost_us_per_row", models.FloatField(help_text="Measured by the probe, in microseconds.", null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="versions",
                        to="trivet.registeredmodel",
                    ),
                ),
            ],
            options={
                "verbose_name": "version",
                "verbose_name_plural": "versions",
                "ordering": ["model", "number"],
            },
        ),
        migrations.CreateModel(
            name="Alias",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(
                        max_length=32, validators=[django.core.validators.RegexValidator("^[a-z][a-z0-9_-]{0,31}\\Z")]
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="aliases", to="trivet.modelversion"
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="aliases", to="trivet.registeredmodel"
                    ),
                ),
            ],
            options={
                "verbose_name": "alias",
                "verbose_name_plural": "aliases",
                "ordering": ["model", "name"],
            },
        ),
        migrations.CreateModel(
            name="Route",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("weight", models.PositiveSmallIntegerField()),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="routes", to="trivet.registeredmodel"
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="routes", to="trivet.modelversion"
                    ),
                ),
            ],
            options={
                "verbose_name": "route",
                "verbose_name_plural": "routes",
                "ordering": ["model", "version"],
            },
        ),
        migrations.CreateModel(
            name="SpoolCursor",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("worker", models.CharField(max_length=100)),
                ("segment", models.PositiveBigIntegerField()),
                ("offset", models.PositiveBigIntegerField()),
            ],
            options={
                "verbose_name": "spool cursor",
                "verbose_name_plural": "spool cursors",
                "constraints": [models.UniqueConstraint(fields=("worker", "segment"), name="trivet_spool_cursor_once")],
            },
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.UniqueConstraint(fields=("model", "number"), name="trivet_version_number_once"),
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.UniqueConstraint(fields=("model", "digest"), name="trivet_version_digest_once"),
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("number__gte", 1)), name="trivet_version_number_positive"
            ),
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["registered", "ready", "rejected", "retired"])),
                name="trivet_version_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="alias",
            constraint=models.UniqueConstraint(fields=("model", "name"), name="trivet_alias_once"),
        ),
        migrations.AddConstraint(
            model_name="alias",
            constraint=models.CheckConstraint(
                condition=models.Q(("name__regex", "^[a-z][a-z0-9_-]{0,31}\\Z")), name="trivet_alias_grammar"
            ),
        ),
        migrations.AddConstraint(
            model_name="alias",
            constraint=models.CheckConstraint(
                condition=models.Q(("name__in", ("latest",)), _negated=True), name="trivet_alias_not_reserved"
            ),
        ),
        migrations.AddConstraint(
            model_name="route",
            constraint=models.UniqueConstraint(fields=("model", "version"), name="trivet_route_once"),
        ),
        migrations.AddConstraint(
            model_name="route",
            constraint=models.CheckConstraint(
                condition=models.Q(("weight__gte", 1), ("weight__lte", 100)), name="trivet_route_weight_percent"
            ),
        ),
        migrations.RunPython(_immutability.install, _immutability.remove, atomic=False),  # MySQL commits at each DDL
    ]
