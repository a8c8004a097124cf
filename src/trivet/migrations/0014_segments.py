"""Say of counts what a segment is: a column, with all its values in one row. Nothing changes in the database."""

from django.db import migrations, models

COLUMN = "A column, by whose values rows are counted apart; empty for all rows."


class Migration(migrations.Migration):
    dependencies = [("trivet", "0013_failing")]

    operations = [
        migrations.AlterField(
            "labelprofile", "segment", models.CharField(blank=True, help_text=COLUMN, max_length=128)
        ),
        migrations.AlterField("profile", "segment", models.CharField(blank=True, help_text=COLUMN, max_length=128)),
        migrations.AlterField(
            "referenceprofile",
            "segment",
            models.CharField(blank=True, help_text="A column; empty for all rows.", max_length=128),
        ),
    ]
