"""Golden cases: what any version of a model has to answer to one row.

It runs before the code it comes with; the release before works on, for it does not know of the table, and would promote
what fails a case. Backwards it forgets the cases.
"""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trivet", "0005_parameters")]

    operations = [
        migrations.CreateModel(
            name="GoldenCaseRow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("inputs", models.JSONField()),
                ("expect", models.JSONField()),
                ("note", models.TextField(blank=True, help_text="Why it must be so.")),
                ("author", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("removed_at", models.DateTimeField(null=True)),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="golden_cases",
                        to="trivet.registeredmodel",
                    ),
                ),
            ],
            options={
                "verbose_name": "golden case",
                "verbose_name_plural": "golden cases",
                "ordering": ["model", "number"],
                "db_table": "trivet_goldencase",
            },
        ),
        migrations.AddConstraint(
            model_name="goldencaserow",
            constraint=models.UniqueConstraint(fields=("model", "number"), name="trivet_golden_case_number_once"),
        ),
    ]
