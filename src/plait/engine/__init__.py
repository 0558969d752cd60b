"""Pure decisions: stimuli in, recorded events and commands out. No IO, no clock, no randomness: they are arguments."""
