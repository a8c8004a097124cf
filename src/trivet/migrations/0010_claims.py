"""Claims to bundles that are being pushed; when a worker was heard of by a clock that nobody sets; inputs that were erased.

It runs before the code it comes with: the release before makes no claims, so its pushes are protected as before, for a day
after the bundle was stored; and its workers are judged by the wall clock, as they were. Backwards it forgets the claims of
pushes that are under way.
"""

from django.db import migrations, models

from trivet.migrations._beside_others import AddColumn, wait_for_others


class Migration(migrations.Migration):
    dependencies = [("trivet", "0009_key_limits")]

    operations = [
        migrations.RunPython(wait_for_others, migrations.RunPython.noop),
        migrations.CreateModel(
            name="BundleClaim",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(db_index=True, max_length=64)),
                ("at", models.DateTimeField(help_text="By the database's clock.")),
            ],
            options={"verbose_name": "claim to a bundle", "verbose_name_plural": "claims to bundles"},
        ),
        AddColumn(
            model_name="worker",
            name="boot",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Which start of its machine; on SQLite only.",
                max_length=36,
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="seen_since_boot",
            field=models.FloatField(help_text="As seen_at, in seconds since that start.", null=True),
        ),
        AddColumn(
            model_name="prediction",
            name="inputs_digest",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of inputs and parameters, salted, where they were erased for their age.",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="loglink",
            name="inputs_erased_by",
            field=models.BigIntegerField(
                help_text="Generation of the Event that tells that the inputs of its rows were erased for their age.",
                null=True,
            ),
        ),
        migrations.RunPython(migrations.RunPython.noop, wait_for_others),
    ]
