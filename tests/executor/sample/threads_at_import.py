"""Settings of a site that starts a thread, and does not mark it as a daemon, while it is imported."""

import threading
import time

from sample.settings import *  # noqa: F403

threading.Thread(target=time.sleep, args=(3600,), name="site-thread").start()
