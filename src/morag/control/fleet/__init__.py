"""Machines of users: who is there (`registry`), and the door through which they claim and settle (`gateway`)."""
