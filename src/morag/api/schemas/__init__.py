"""What goes in and out over HTTP, one module per resource. Unknown fields are refused by name."""
