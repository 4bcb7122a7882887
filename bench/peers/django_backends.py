"""Backends of ``django.tasks`` on the site's own PostgreSQL.

django-tasks-db: two ``db_worker`` processes, as its README starts them; ``--interval`` stays at its second,
which is what its users wait for on an idle worker; ``--no-startup-delay``, as two cannot stampede. It has
no bulk enqueue.

django-ox: one ``ox_worker`` with ``--processes 2`` of one thread each, for two tasks at a time in processes
of their own; ``--interval`` at its default. Bulk enqueue is its own ``enqueue_many``. Both with
CONN_MAX_AGE=None, without which django-tasks-db opens a connection per task and which django-ox's own
figures ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.peers.peer import RANDOM_KEY, SITE, Backlog, Peer, Site, kept_connections


@dataclass(frozen=True)
class DjangoTasksDb(Peer):
    def settings(self, site: Site) -> dict[str, Any]:
        backend = {"BACKEND": "django_tasks_db.DatabaseBackend"}
        return {"TASKS": {"default": backend}, "DATABASES": kept_connections(site)}

    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        return [self.manage("db_worker", "--no-startup-delay", "--verbosity", "0")] * self.processes


@dataclass(frozen=True)
class DjangoOx(Peer):
    def settings(self, site: Site) -> dict[str, Any]:
        return {
            "TASKS": {"default": {"BACKEND": "django_ox.backend.OxBackend"}},
            "DATABASES": kept_connections(site),
        }

    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        return [self.manage("ox_worker", "--processes", str(self.processes), "--verbosity", "0")]


PEERS = (
    DjangoTasksDb(
        name="django-tasks-db",
        title="django-tasks-db",
        stores="postgres",
        module="django_tasks_db",
        environment="django-tasks-db",
        packages=(*SITE, "django-tasks-db"),
        released="django-tasks-db",
        apps=("django_tasks_db",),
        isolation="worker",
        backlog=Backlog(
            "django_tasks_database_dbtaskresult",
            ("args_kwargs", "jsonb_build_object('args', jsonb_build_array(n), 'kwargs', '{}'::jsonb)"),
            RANDOM_KEY,
        ),
    ),
    DjangoOx(
        name="django-ox",
        title="django-ox",
        stores="postgres",
        module="django_ox",
        environment="django-ox",
        packages=(*SITE, "django-ox"),
        released="django-ox",
        apps=("django_ox",),
        isolation="worker",
        backlog=Backlog("django_ox_oxtask", ("args", "jsonb_build_array(n)"), RANDOM_KEY),
    ),
)
