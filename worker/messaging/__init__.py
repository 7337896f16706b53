"""Messages at the door: what has exactly our form goes on, everything else is dropped and counted."""
