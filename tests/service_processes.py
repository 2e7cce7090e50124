"""Processes of the service that start fast, can be killed with -9, and share a clock that a test advances."""

import signal
import threading
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from tests.warm_programs import context

KEY = "messages-key-of-the-processes"
START_SECONDS = 60


class SharedClock:
    """The clock of this machine plus an offset, the same in all processes of a test."""

    def __init__(self) -> None:
        self._offset = context.Value("d", 0.0)

    def __call__(self) -> datetime:
        from budkavle.clock import now

        return now() + timedelta(seconds=self._offset.value)

    def advance(self, seconds: float) -> None:
        """Let time pass in all processes at once."""
        with self._offset.get_lock():
            self._offset.value += seconds


class ServiceProcess:
    """One process of the service. `settings` are those of `Settings`."""

    def __init__(self, clock: SharedClock, settings: dict[str, Any]) -> None:
        self._clock = clock
        self._settings = settings
        self._process: Any = None
        # Only one thread can read the exit code, and the mock's thread kills too.
        self._watching = threading.Lock()
        self.url = ""
        """Its address, another one after each start: while it does not run, others may use its port."""

    @property
    def is_running(self) -> bool:
        with self._watching:
            return self._process is not None and self._process.is_alive()

    def start(self) -> None:
        """Start the process, and return when it listens, or when it was killed meanwhile."""
        listening, child_end = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(self._clock, self._settings, child_end), daemon=True)
        process.start()
        self._process = process
        child_end.close()
        with listening:
            # The end of the process closes the other end.
            assert listening.poll(START_SECONDS), f"the process does not listen after {START_SECONDS} s"
            with suppress(EOFError):
                self.url = listening.recv()
                return
        with self._watching:
            process.join()
        assert process.exitcode == -signal.SIGKILL, "the process of the service did not start"

    def kill(self) -> None:
        """Kill the process with -9, if it runs, and return when it has ended."""
        if self._process is not None:
            with self._watching:
                self._process.kill()
                self._process.join()


def _serve(clock: SharedClock, settings: dict[str, Any], listening: Any) -> None:
    from budkavle.service import build_server_config, create_service
    from budkavle.settings import Settings
    from domain.api_keys import ApiKey, hash_key
    from openapi.observation.logs import set_up_logs
    from openapi.server.serving import QuietServer, build_address, listen, run_loop

    set_up_logs("json", "critical")
    parsed = Settings(**settings)
    key = ApiKey(hash_key(KEY.encode()), "tests", ("messages",), clock())
    application = create_service(parsed, extra_keys=(key,), clock=clock)
    listener = listen("127.0.0.1", 0)
    listening.send(build_address(listener))
    run_loop(QuietServer(build_server_config(parsed, application)).serve([listener]))
