"""What is drawn, and where drawings are kept between reports."""
