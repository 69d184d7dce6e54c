"""The application of the Celery example, with short windows: `celery -A celery_worker worker`."""

from __future__ import annotations

from functools import partial

import celery_workers
from fleet_worker import LIMITS

from mde_live_response import LiveResponseClient

celery_workers.connect = partial(LiveResponseClient, limits=LIMITS)
app = celery_workers.app
