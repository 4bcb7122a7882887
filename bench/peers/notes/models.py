"""The site's own data."""

from django.db import models


class Note(models.Model):
    """What ``work.orm`` reads and writes."""

    written = models.BigIntegerField(default=0)

    class Meta:
        app_label = "notes"

    def __str__(self) -> str:
        return f"note {self.pk}"
