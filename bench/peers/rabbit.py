"""RabbitMQ on loopback, with a folder of its own: its defaults, no plugins, nothing of the machine's
service.
"""

from __future__ import annotations

import socket
from pathlib import Path

from bench.machine import pss_mib
from bench.peers.brokers import BASE
from bench.peers.processes import Family, free_port, wait_until_open

#: An Erlang node with an empty folder takes its time.
START_SECONDS = 90
#: What a client says first, and a server then answers.
GREETING = b"AMQP\0\0\x09\x01"


class Rabbit:
    """A node, and the port mapper that Erlang nodes need (which would otherwise stay behind)."""

    def __init__(self, folder: Path) -> None:
        self._port, mapper = free_port(), free_port()
        self._queues = 0
        environment = BASE | {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"bench{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_PID_FILE": str(folder / "rabbit.pid"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        (folder / "plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text("log.console = true\nlog.console.level = warning\n")
        log = folder / "rabbit.log"
        self._mapper = Family(
            [["/usr/bin/epmd", "-port", str(mapper), "-address", "127.0.0.1"]], environment, folder, log
        )
        self._node = Family([["/usr/lib/rabbitmq/bin/rabbitmq-server"]], environment, folder, log)
        try:
            wait_until_open(self._port, self._node, START_SECONDS, self._answers)
        except BaseException:
            self.stop()
            raise

    def address(self) -> dict[str, str]:
        """A queue of its own each time: what an earlier phase has left is not looked at again."""
        self._queues += 1
        return {
            "amqp": f"amqp://guest:guest@127.0.0.1:{self._port}//",
            "queue": f"celery_{self._queues}",
        }

    def cpu_seconds(self) -> float:
        return self._node.cpu_seconds()

    def pss_mib(self) -> float:
        return pss_mib(self._node.members())

    def stop(self) -> None:
        self._node.stop()
        self._mapper.stop()

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
            connection.sendall(GREETING)
            return bool(connection.recv(100))
