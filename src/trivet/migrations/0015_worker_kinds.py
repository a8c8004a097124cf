"""Forget a kind of process that there never was. Only a list of words changes, no column: code and migration in any order."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trivet", "0014_segments")]

    operations = [
        migrations.AlterField(
            model_name="worker",
            name="kind",
            field=models.CharField(
                choices=[
                    ("web", "web worker"),
                    ("grpc", "gRPC worker"),
                    ("keeper", "keeper"),
                    ("process", "process that predicts"),
                ],
                max_length=16,
            ),
        ),
    ]
