"""PDF: words from pdfium, lines and columns by geometry, headings by statistics, tables by rules and alignment."""
