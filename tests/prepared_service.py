"""Parse and compile the contracts of the service, for processes that are forked from the importing one."""

import os
from typing import Any

from budkavle.service import create_service
from budkavle.settings import Settings

# The settings of the test that starts the importing process may be invalid on purpose.
for _name in [name for name in os.environ if name.startswith("BUDKAVLE_")]:
    del os.environ[_name]
_service: Any = create_service(Settings(database_url="sqlite:///never-opened.db"))
# The first request would build it, but the importing process must have no threads.
_service._build_middleware_stack()
