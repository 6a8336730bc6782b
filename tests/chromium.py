"""The browser that tests drive: whichever Chromium is installed, with patience for a busy machine."""

import shutil

from playwright.sync_api import expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_BROWSER = "no browser: apt-get install chromium"
expect.set_options(timeout=30_000)  # milliseconds
