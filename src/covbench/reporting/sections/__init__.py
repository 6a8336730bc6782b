"""Builds what each section of a page shows, from tables and cases."""
