"""The report: figures, tables and one page that opens offline."""
