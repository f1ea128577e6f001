"""The vocabulary everything else speaks: frozen records and enums, no I/O, no clock."""
