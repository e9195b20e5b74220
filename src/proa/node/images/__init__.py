"""See to it that a container's image is here: names and aliases, pulls and who may use them, and what is removed."""
