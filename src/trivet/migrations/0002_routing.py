"""Sticky routing, shadows and fallback chains.

It runs before the code it comes with; the release before works on, for what it does not know of is null or empty. No
guarded table is altered, so the triggers stay as they are. Backwards it forgets the settings and who answered for whom.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("trivet", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="fallback_from",
            field=models.PositiveIntegerField(
                help_text="Number of the version that failed, where another answered for it.", null=True
            ),
        ),
        migrations.AddField(
            model_name="prediction",
            name="shadow_of",
            field=models.UUIDField(help_text="Of kind shadow: the prediction that was answered meanwhile.", null=True),
        ),
        migrations.AddField(
            model_name="registeredmodel",
            name="fallback",
            field=models.JSONField(
                help_text="Who answers where the routed version fails: versions and aliases, at the end perhaps a constant.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="registeredmodel",
            name="sticky_by",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Input whose value keeps a caller on one version.",
                max_length=256,
            ),
        ),
        migrations.AlterField(
            model_name="prediction",
            name="kind",
            field=models.CharField(
                help_text="predict; or shadow, of a version that nobody was answered by.", max_length=16
            ),
        ),
        migrations.AlterField(
            model_name="prediction",
            name="version",
            field=models.PositiveIntegerField(help_text="0: a constant answered."),
        ),
        migrations.CreateModel(
            name="Shadow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("weight", models.PositiveSmallIntegerField()),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="shadows", to="trivet.registeredmodel"
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="shadows", to="trivet.modelversion"
                    ),
                ),
            ],
            options={
                "verbose_name": "shadow",
                "verbose_name_plural": "shadows",
                "ordering": ["model", "version"],
                "constraints": [
                    models.UniqueConstraint(fields=("model", "version"), name="trivet_shadow_once"),
                    models.CheckConstraint(
                        condition=models.Q(("weight__gte", 1), ("weight__lte", 100)),
                        name="trivet_shadow_weight_percent",
                    ),
                ],
            },
        ),
    ]
