"""What is loaded besides what traffic needs, and models that are unloaded.

It runs before the code it comes with; the release before works on, for it does not know of the columns and what is not
said is null or false. Columns are added without copying a table, so the triggers stay. Backwards it forgets the wishes.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trivet", "0002_routing")]

    operations = [
        migrations.AddField(
            model_name="modelversion",
            name="keep_loaded",
            field=models.BooleanField(
                help_text="Loaded or not, as somebody said; null: as its model's traffic needs. Traffic prevails.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="registeredmodel",
            name="unloaded",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Answers 503 until it is loaded again; its routes stay."
            ),
        ),
    ]
