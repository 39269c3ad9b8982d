"""Services of the supervisor that keys and buttons ask for."""

from __future__ import annotations

RESUME = 'supervisor/resume'
STOP = 'supervisor/stop'
TAKE = 'supervisor/take'
GIVE_BACK = 'supervisor/give_back'
