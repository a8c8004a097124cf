"""What a version does worse, for how long, and how much evidence each of its windows left.

It runs before the code it comes with: a keeper of the release before leaves the counts at nothing and keeps no history, and the
code takes both as they are. Backwards it forgets the history, and the evidence against the reference.
"""

import django.db.models.deletion
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from trivet.migrations._beside_others import AddColumn, wait_for_others


def _forget_evidence_against_the_reference(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    table = apps.get_model("trivet", "LossEvidence")
    table.objects.using(schema_editor.connection.alias).filter(loss="error:reference").delete()


class Migration(migrations.Migration):
    dependencies = [("trivet", "0015_worker_kinds")]

    operations = [
        migrations.RunPython(wait_for_others, migrations.RunPython.noop),
        migrations.RunPython(migrations.RunPython.noop, _forget_evidence_against_the_reference),
        AddColumn(
            model_name="monitor",
            name="low_windows",
            field=models.PositiveIntegerField(
                db_default=0, default=0, help_text="In a row, in which the estimate was below its band."
            ),
        ),
        AddColumn(
            model_name="monitor",
            name="odd_windows",
            field=models.PositiveIntegerField(
                db_default=0, default=0, help_text="In a row, in which it was also unlike the weeks before."
            ),
        ),
        AddColumn(
            model_name="monitor",
            name="fine_windows",
            field=models.PositiveIntegerField(
                db_default=0, default=0, help_text="In a row, in which nothing was wrong with the estimate."
            ),
        ),
        AddColumn(
            model_name="lossevidence",
            name="quiet_days",
            field=models.PositiveIntegerField(db_default=0, default=0, help_text="In a row, of those that had labels."),
        ),
        migrations.AlterField(
            model_name="lossevidence",
            name="loss",
            field=models.CharField(
                choices=[("error", "the estimate"), ("error:reference", "the reference")], max_length=16
            ),
        ),
        migrations.CreateModel(
            name="JudgedWindow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("grain", models.CharField(choices=[("m", "minute"), ("h", "hour"), ("d", "day")], max_length=1)),
                ("start", models.DateTimeField()),
                ("mean_evidence", models.FloatField(help_text="Mean of M over its series.")),
                ("budget", models.FloatField()),
                (
                    "monitor",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="judged", to="trivet.monitor"
                    ),
                ),
            ],
            options={
                "verbose_name": "judged window",
                "verbose_name_plural": "judged windows",
                "indexes": [models.Index(fields=["grain", "start"], name="trivet_judged_age")],
                "constraints": [
                    models.UniqueConstraint(fields=("monitor", "grain", "start"), name="trivet_judged_once")
                ],
            },
        ),
    ]
