"""Runs that score tables, and the rows that they could not score.

It makes two tables and touches no other, so it runs before or after the code it comes with; a release before knows nothing of
them. Backwards they are dropped: what runs had written into a project's own columns stays.
"""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("trivet", "0018_trust_from_below"),
    ]

    operations = [
        migrations.CreateModel(
            name="ScoringRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("model", models.CharField(max_length=63)),
                ("version", models.PositiveIntegerField(help_text="0: a stub of a test answered.")),
                ("table", models.CharField(help_text="The Django model, as app.model.", max_length=201)),
                ("field", models.CharField(max_length=128)),
                (
                    "features_hash",
                    models.CharField(help_text="Of the FeatureSet that rows were asked with.", max_length=64),
                ),
                (
                    "question",
                    models.CharField(help_text="SHA-256 of what decides which rows are meant.", max_length=64),
                ),
                (
                    "where",
                    models.JSONField(
                        help_text="The conditions of the verb; null for a run that code began.", null=True
                    ),
                ),
                ("only_stale", models.BooleanField(default=False)),
                (
                    "stale_before",
                    models.DateTimeField(help_text="Rows written before are stale whatever their version.", null=True),
                ),
                ("limit", models.PositiveBigIntegerField(null=True)),
                ("batch_size", models.PositiveIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "running"),
                            ("interrupted", "interrupted"),
                            ("finished", "finished"),
                            ("abandoned", "abandoned"),
                        ],
                        default="running",
                        max_length=16,
                    ),
                ),
                (
                    "cursor",
                    models.TextField(
                        blank=True, help_text="The last primary key that is done with; empty before the first."
                    ),
                ),
                ("total", models.PositiveBigIntegerField(help_text="Rows when it began.")),
                ("done", models.PositiveBigIntegerField(default=0, help_text="Rows that were written.")),
                ("errors", models.PositiveBigIntegerField(default=0, help_text="Rows that could not be scored.")),
                ("gone", models.PositiveBigIntegerField(default=0, help_text="Rows that were deleted meanwhile.")),
                ("seconds", models.FloatField(default=0.0, help_text="Spent on the rows so far.")),
                (
                    "longest_seconds",
                    models.FloatField(default=0.0, help_text="That one of its transactions held its rows."),
                ),
                ("actor", models.CharField(max_length=200)),
                ("began_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "seen_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, help_text="When its holder last said that it lives."
                    ),
                ),
                ("ended_at", models.DateTimeField(null=True)),
                ("holder", models.CharField(blank=True, help_text="The process that runs it.", max_length=100)),
                (
                    "claim",
                    models.UUIDField(help_text="Who holds it now; another one may not write any more.", null=True),
                ),
                ("problem", models.TextField(blank=True, help_text="Why it was interrupted.")),
            ],
            options={
                "verbose_name": "scoring run",
                "verbose_name_plural": "scoring runs",
                "ordering": ["-pk"],
                "indexes": [models.Index(fields=["table", "field"], name="trivet_scoring_run_into")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "running")),
                        fields=("table", "field"),
                        name="trivet_scoring_run_alone",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["running", "interrupted", "finished", "abandoned"])),
                        name="trivet_scoring_run_state_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ScoringError",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.TextField(help_text="Its primary key.")),
                ("message", models.TextField()),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="problems", to="trivet.scoringrun"
                    ),
                ),
            ],
            options={
                "verbose_name": "scoring error",
                "verbose_name_plural": "scoring errors",
                "ordering": ["pk"],
            },
        ),
    ]
