"""From lines on a page to blocks of Markdown in reading order; for print in a PDF and for what is read of a picture."""
