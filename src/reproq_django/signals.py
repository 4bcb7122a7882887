"""Django's own three task signals, under the names that code of the earlier system imports.

Senders are backend classes; receivers get ``task_result``. They are sent with ``send_robust``: a receiver
that raises is logged by Django and fails neither the enqueue nor the task.
"""

from django.tasks.signals import task_enqueued, task_finished, task_started

__all__ = ["task_enqueued", "task_finished", "task_started"]
