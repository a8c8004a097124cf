"""Tables of labels, profiles, evidence and alerts. They are new, so the release before runs beside them."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("trivet", "0010_claims"),
    ]

    operations = [
        migrations.CreateModel(
            name="Label",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "prediction_id",
                    models.UUIDField(help_text="Of the request; null until an entity key has found it.", null=True),
                ),
                ("row", models.PositiveIntegerField(null=True)),
                ("model", models.CharField(max_length=63)),
                (
                    "entity_key",
                    models.CharField(
                        blank=True, help_text="What to find the prediction by, without an id.", max_length=256
                    ),
                ),
                ("value", models.JSONField()),
                ("weight", models.FloatField(default=1.0)),
                ("source", models.CharField(blank=True, help_text="Who or what knew.", max_length=64)),
                (
                    "observed_at",
                    models.DateTimeField(help_text="When it was true; without a word of the caller, when it came."),
                ),
                ("received_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("revision", models.PositiveIntegerField(default=1)),
                ("caller", models.CharField(max_length=200)),
                ("receipt", models.UUIDField(help_text="Of the request that brought it.", null=True)),
                (
                    "state",
                    models.CharField(
                        choices=[("applied", "applied"), ("waiting", "waiting"), ("refused", "refused")], max_length=16
                    ),
                ),
                ("reason", models.TextField(blank=True, help_text="Why it waits, or was refused.")),
            ],
            options={
                "verbose_name": "label",
                "verbose_name_plural": "labels",
                "indexes": [
                    models.Index(fields=["model", "state", "received_at"], name="trivet_label_of_model"),
                    models.Index(fields=["receipt"], name="trivet_label_of_receipt"),
                    models.Index(fields=["prediction_id", "row"], name="trivet_label_of_prediction"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "applied")),
                        fields=("prediction_id", "row", "revision"),
                        name="trivet_label_revision_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["applied", "waiting", "refused"])),
                        name="trivet_label_state_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "applied"), _negated=True),
                            models.Q(("prediction_id__isnull", False), ("row__isnull", False)),
                            _connector="OR",
                        ),
                        name="trivet_label_applied_to_one",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Monitor",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("is_enabled", models.BooleanField(default=True)),
                ("options", models.JSONField(blank=True, default=dict)),
                ("windows", models.PositiveIntegerField(default=0, help_text="Judged since the evidence began.")),
                ("quiet_windows", models.PositiveIntegerField(default=0, help_text="In a row.")),
                ("until", models.DateTimeField(null=True)),
                ("mean_evidence", models.FloatField(default=0.0, help_text="Mean of M over its series.")),
                (
                    "version",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="monitor", to="trivet.modelversion"
                    ),
                ),
            ],
            options={
                "verbose_name": "monitor",
                "verbose_name_plural": "monitors",
            },
        ),
        migrations.CreateModel(
            name="Alert",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "cause",
                    models.CharField(
                        choices=[("drift", "drift"), ("trust", "estimate not trusted"), ("performance", "performance")],
                        max_length=16,
                    ),
                ),
                (
                    "severity",
                    models.CharField(
                        choices=[("info", "info"), ("warning", "warning"), ("critical", "critical")], max_length=16
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "open"),
                            ("acknowledged", "acknowledged"),
                            ("snoozed", "snoozed"),
                            ("resolved", "resolved"),
                        ],
                        default="open",
                        max_length=16,
                    ),
                ),
                ("opened_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "news_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, help_text="When it was opened, became worse, or woke."
                    ),
                ),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("acknowledged_by", models.CharField(blank=True, max_length=200)),
                ("snoozed_until", models.DateTimeField(null=True)),
                ("resolved_at", models.DateTimeField(null=True)),
                (
                    "told_at",
                    models.DateTimeField(
                        help_text="When mail and webhooks were sent; null while they are to be.", null=True
                    ),
                ),
                ("features", models.JSONField(default=list, help_text="Named by their evidence, the strongest first.")),
                ("evidence", models.JSONField(default=dict)),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="alerts", to="trivet.registeredmodel"
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="alerts", to="trivet.modelversion"
                    ),
                ),
            ],
            options={
                "verbose_name": "alert",
                "verbose_name_plural": "alerts",
                "indexes": [models.Index(fields=["model", "opened_at"], name="trivet_alert_of_model")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "resolved"), _negated=True),
                        fields=("version", "cause"),
                        name="trivet_alert_one_open",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["open", "acknowledged", "snoozed", "resolved"])),
                        name="trivet_alert_state_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("severity__in", ["info", "warning", "critical"])),
                        name="trivet_alert_severity_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="LabelProfile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "arm",
                    models.CharField(
                        choices=[("champion", "champion"), ("canary", "canary"), ("shadow", "shadow")], max_length=16
                    ),
                ),
                ("segment", models.CharField(blank=True, max_length=128)),
                ("grain", models.CharField(choices=[("m", "minute"), ("h", "hour"), ("d", "day")], max_length=1)),
                ("start", models.DateTimeField(help_text="Of the predictions, not of the labels.")),
                ("shard", models.CharField(max_length=64)),
                (
                    "age_class",
                    models.PositiveSmallIntegerField(help_text="How late the labels came: 0 is within an hour."),
                ),
                (
                    "labels",
                    models.BigIntegerField(
                        help_text="Below none where another machine counted what was corrected here."
                    ),
                ),
                ("payload", models.BinaryField()),
                ("format", models.PositiveSmallIntegerField()),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="label_profiles",
                        to="trivet.modelversion",
                    ),
                ),
            ],
            options={
                "verbose_name": "label profile",
                "verbose_name_plural": "label profiles",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("version", "arm", "segment", "grain", "start", "shard", "age_class"),
                        name="trivet_label_profile_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("grain__in", ["m", "h", "d"])), name="trivet_label_profile_grain_known"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="LossEvidence",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("loss", models.CharField(max_length=16)),
                ("tolerance", models.FloatField()),
                ("log_e", models.FloatField(default=0.0)),
                ("log_cusum", models.FloatField(null=True)),
                ("count", models.FloatField(default=1.0)),
                ("sum_x", models.FloatField(default=0.0)),
                ("sum_sq", models.FloatField(default=0.25)),
                ("labels", models.PositiveBigIntegerField(default=0)),
                ("until", models.DateTimeField(help_text="Cohorts before it were read.", null=True)),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="loss_evidence",
                        to="trivet.modelversion",
                    ),
                ),
            ],
            options={
                "verbose_name": "loss evidence",
                "verbose_name_plural": "loss evidence",
                "constraints": [models.UniqueConstraint(fields=("version", "loss"), name="trivet_loss_evidence_once")],
            },
        ),
        migrations.CreateModel(
            name="MonitorSeries",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="kind:feature, as in drift:age.", max_length=200)),
                ("log_m", models.FloatField(help_text="ln M; null before the first window.", null=True)),
                ("last", models.JSONField(default=dict, help_text="What the last window said: distance, p, rows.")),
                (
                    "monitor",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="series", to="trivet.monitor"
                    ),
                ),
            ],
            options={
                "verbose_name": "series",
                "verbose_name_plural": "series",
                "constraints": [models.UniqueConstraint(fields=("monitor", "name"), name="trivet_series_once")],
            },
        ),
        migrations.CreateModel(
            name="Profile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "arm",
                    models.CharField(
                        choices=[("champion", "champion"), ("canary", "canary"), ("shadow", "shadow")], max_length=16
                    ),
                ),
                (
                    "segment",
                    models.CharField(blank=True, help_text="column=value; empty for all rows.", max_length=128),
                ),
                ("grain", models.CharField(choices=[("m", "minute"), ("h", "hour"), ("d", "day")], max_length=1)),
                ("start", models.DateTimeField()),
                (
                    "shard",
                    models.CharField(
                        help_text="The machine that shipped them: each writes its own rows alone.", max_length=64
                    ),
                ),
                ("rows", models.PositiveBigIntegerField()),
                ("weight", models.FloatField(default=1.0, help_text="How many rows one that was counted stands for.")),
                ("payload", models.BinaryField()),
                ("format", models.PositiveSmallIntegerField()),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="profiles", to="trivet.modelversion"
                    ),
                ),
            ],
            options={
                "verbose_name": "profile",
                "verbose_name_plural": "profiles",
                "indexes": [models.Index(fields=["grain", "start"], name="trivet_profile_age")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("version", "arm", "segment", "grain", "start", "shard"), name="trivet_profile_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("grain__in", ["m", "h", "d"])), name="trivet_profile_grain_known"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReferenceProfile",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("segment", models.CharField(blank=True, max_length=128)),
                ("payload", models.BinaryField(help_text="As trivet.core.profile encodes it.")),
                ("rows", models.PositiveBigIntegerField()),
                ("sha256", models.CharField(max_length=64)),
                (
                    "is_current",
                    models.BooleanField(default=True, help_text="False for one that another took the place of."),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="references", to="trivet.modelversion"
                    ),
                ),
            ],
            options={
                "verbose_name": "reference profile",
                "verbose_name_plural": "reference profiles",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("is_current", True)),
                        fields=("version", "segment"),
                        name="trivet_reference_once",
                    )
                ],
            },
        ),
    ]
