"""Shell. `meshtrio ca`: signs for the agents of other machines. What decides and limits is core."""
