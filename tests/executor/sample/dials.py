"""A module that opens sockets while it is imported, as clients of caches and brokers do."""

import os
import socket

listening = socket.create_server(("127.0.0.1", 0))
unconnected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
pair = socket.socketpair()
dialled = socket.create_connection(("127.0.0.1", int(os.environ["SAMPLE_PORT"])))
