"""Draws figures and pictures, and keeps them from one report to the next."""
