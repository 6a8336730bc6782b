"""Tables and cases in, pages that open offline out."""
