"""Shell. The admin port and the control socket."""
