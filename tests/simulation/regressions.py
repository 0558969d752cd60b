"""Seeds that broke, and what was wrong with plait then. They are always run."""

REGRESSIONS = [
    ("crowd", 3, "an agent did not tell a scheduler that there was room again"),
    ("crowd", 27, "a run was hosted half-way when the store failed, and waited for ever"),
    ("crowd", 82, "likewise"),
    ("dags", 54, "requests to runs that were over and whose owner had died were decided by nobody"),
    ("dags", 60, "requests to a run that waited for another try were dropped"),
    ("flows", 0, "likewise"),
    ("flows", 25, "stock was taken under the old epoch: tokens were used twice"),
    ("flows", 34, "a run that could not be given back was kept, and not hosted"),
    ("flows", 36, "a child was offered again though its body was over"),
    ("flows", 41, "one report that failed took the others along"),
    ("flows", 56, "the end of a process that had lost its run counted against who had it then"),
    ("nested", 13, "the end of a sub-run that had failed here and went on elsewhere was not heard"),
    ("nested", 48, "a task that takes no room let the one behind it wait for ever"),
    ("schedules", 4, "runs whose making was not answered were hosted by nobody"),
    ("schedules", 9, "a commit that failed with nothing in it was tried again at once, and for ever"),
    ("schedules", 50, "two schedulers wrote one run under one epoch"),
    ("schedules", 93, "while a run was a suspect, the others got no slots"),
]
