"""Where the values lie that tasks pass on."""
