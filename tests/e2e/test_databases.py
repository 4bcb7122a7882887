"""Queues in several databases: results name their database, and each worker serves its own."""

import pytest
from django.db import connections
from django.test import override_settings
from harness import ALIAS, Site

from testapp import tasks

ROUTES = {"reports-*": ALIAS}


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_a_routed_queue_is_served_from_its_own_database(site: Site) -> None:
    with override_settings(REPROQ_DEFAULT_DB_ALIAS="default", REPROQ_QUEUE_DATABASES=ROUTES):
        here = tasks.add.enqueue(1, 1)
        there = tasks.add.using(queue_name="reports-eu").enqueue(2, 2)
        assert here.id == f"default:{here.result_id}"
        assert there.id == f"{ALIAS}:{there.result_id}"
        with site.worker("--queues", "reports-eu", REPROQ_DB_ALIAS="default"):
            there.wait(timeout=30, poll_interval=0.02)
        assert there.return_value == 4
        assert tasks.add.get_result(there.id).return_value == 4
        assert tasks.add.get_result(here.id).raw_status == "READY"
        connections["default"].close()
