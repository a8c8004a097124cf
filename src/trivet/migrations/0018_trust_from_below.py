"""The estimate of a version is held against labels from below, too: that fewer rows are wrong than it says.

Only the choices of a column change, so it runs before or after the code it comes with. A version that is judged already has its
row of the second bet from the day that is judged next; a release before knows no such row and leaves it as it is. Backwards they
are forgotten.
"""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def _forget_evidence_from_below(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    table = apps.get_model("trivet", "LossEvidence")
    table.objects.using(schema_editor.connection.alias).filter(loss="error:fewer").delete()


class Migration(migrations.Migration):
    dependencies = [("trivet", "0017_label_profile_age")]

    operations = [
        migrations.RunPython(migrations.RunPython.noop, _forget_evidence_from_below),
        migrations.AlterField(
            model_name="lossevidence",
            name="loss",
            field=models.CharField(
                choices=[
                    ("error", "the estimate"),
                    ("error:fewer", "the estimate, from below"),
                    ("error:reference", "the reference"),
                ],
                max_length=16,
            ),
        ),
    ]
