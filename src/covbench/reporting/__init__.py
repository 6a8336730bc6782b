"""The report: figures, tables and pages that open offline."""
