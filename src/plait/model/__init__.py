"""Values that everything else speaks in: ids, graphs, states, stimuli, events, commands, rows, policies, errors. No
IO."""
