"""Turns tables and cases into pages that open offline."""
